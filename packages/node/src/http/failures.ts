/** How the HTTP servers answer what they cannot or will not do: JSON with a code, whatever went wrong. */
import type { Socket } from 'node:net';
import { ERROR_TABLE, type ErrorCode, HoldfastError, toWireError } from '@holdfast/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { KnownPaths } from './known-paths.ts';
import type { Api } from './routes.ts';

/** Bytes of a request's body. */
const BODY_BYTES_MAX = 64 * 1024;
/** Milliseconds for receiving a request. */
const REQUEST_MS_MAX = 30_000;
/** What servers have in common. A path that is no URL is answered before there is a route. */
export const LIMITED = {
  bodyLimit: BODY_BYTES_MAX,
  requestTimeout: REQUEST_MS_MAX,
  clientErrorHandler: answerUnparsed,
  frameworkErrors: (error: Error, _request: FastifyRequest, reply: FastifyReply): void => {
    void sendError(reply, asKnown(error));
  },
} as const;

/** Answers what is no HTTP request, or whose head is too long: there is no route and no reply object yet. */
function answerUnparsed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return;
  const isLong = error.code === 'HPE_HEADER_OVERFLOW';
  const body = JSON.stringify({
    code: isLong ? 'TOO_LARGE' : 'BAD_REQUEST',
    message: isLong ? 'the head of a request has at most 16 KiB' : 'this is no HTTP/1.1 request',
    detail: {},
  });
  const status = isLong ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const head = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`;
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\n${head}\r\n\r\n${body}`);
}

/** Has the server answer errors, and what it does not have, as JSON with a code. */
export function answerErrors(
  api: Pick<Api, 'addHook' | 'setErrorHandler' | 'setNotFoundHandler'>,
  help: string,
): void {
  api.setErrorHandler((error, _request, reply) => sendError(reply, asKnown(error)));
  const known = new KnownPaths();
  api.addHook('onRoute', ({ method, url }) => known.add(url, [method].flat()));
  api.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const allowed = known.methodsOf(path);
    if (allowed.length === 0) throw new HoldfastError('NOT_FOUND', `there is no ${path}; ${help}`);
    reply.header('allow', allowed.join(', '));
    throw new HoldfastError(
      'METHOD_NOT_ALLOWED',
      `${path} does not take ${request.method}, but ${allowed.join(', ')}`,
    );
  });
}

function asKnown(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const [first] = error.validation;
    const where = [error.validationContext, ...(first?.instancePath ?? '').split('/')]
      .filter((part) => part !== '')
      .join('.');
    return new HoldfastError(
      'BAD_REQUEST',
      `${where}: ${first?.message ?? 'malformed'}; see /v1/openapi.json`,
    );
  }
  const { statusCode, message } = error as { statusCode?: number; message?: string };
  if (statusCode === 413)
    return new HoldfastError('TOO_LARGE', `a body has at most ${BODY_BYTES_MAX} bytes`);
  if (statusCode === 415)
    return new HoldfastError(
      'BAD_REQUEST',
      "a body is JSON: send 'content-type: application/json'",
    );
  if (statusCode !== undefined && statusCode < 500)
    return new HoldfastError('BAD_REQUEST', message);
  return new HoldfastError('INTERNAL', message, { cause: error });
}

function sendError(reply: FastifyReply, error: HoldfastError): FastifyReply {
  const wire = toWireError(error);
  return reply
    .code(ERROR_TABLE[wire.code as ErrorCode].http)
    .type('application/json')
    .send({ code: wire.code, message: wire.message, detail: wire.detail ?? {} });
}
