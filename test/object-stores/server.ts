/**
 * What the object stores of tests have in common: HTTP or HTTPS on a free port, objects in memory, and
 * faults that the test orders. What a request means is up to a dialect.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/** What goes wrong with a request. */
export type Fault =
  /** Answers with this status and does nothing. */
  | { readonly what: 'status'; readonly status: number; readonly code: string }
  /** Does what was asked and cuts the connection before the answer. */
  | { readonly what: 'lost-answer' }
  /** Sends half of the answer's body and cuts the connection. */
  | { readonly what: 'cut-body' }
  /** Waits before it does anything. */
  | { readonly what: 'slow'; readonly ms: number }
  /** Does nothing until then. */
  | { readonly what: 'held'; readonly until: Promise<void> };

/** A request as a test sees it. */
export interface SeenRequest {
  readonly method: string;
  /** Key of the object; '' for the bucket or container. */
  readonly key: string;
  readonly query: URLSearchParams;
}

/** How a server behaves; may be changed while it runs. */
export interface ServerBehaviour {
  /** Asked for each request. */
  fault: (request: SeenRequest) => Fault | undefined;
  /** What its clock is ahead, milliseconds. */
  clockAheadMs: number;
  /** Obeys `If-None-Match`; else it answers such a put with 501, as old stores do. */
  isConditional: boolean;
  /** Objects on a page of a listing. */
  pageLength: number;
}

/** A server that runs. */
export interface ObjectServer {
  readonly port: number;
  readonly behaviour: ServerBehaviour;
  readonly objects: Map<string, Buffer>;
  readonly requests: SeenRequest[];
  close(): Promise<void>;
}

/** PEM of a server's certificate and key. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
}

/** What a server answers. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

/** A request that arrived whole. */
export interface ArrivedRequest {
  readonly request: IncomingMessage;
  /** `undefined`: for another bucket or container. */
  readonly seen: SeenRequest | undefined;
  readonly body: Buffer;
  /** By the server's clock, milliseconds since the epoch. */
  readonly nowMs: number;
}

/** What requests of one kind of store mean. */
export interface ServerDialect {
  seenOf(request: IncomingMessage): SeenRequest | undefined;
  answer(server: ObjectServer, arrived: ArrivedRequest): Answer;
  refusal(status: number, code: string): Answer;
}

/** Text as it stands in XML. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function send(
  response: ServerResponse,
  answer: Answer,
  options: { isHead: boolean; isCut: boolean; dateMs: number },
): void {
  const body = answer.body ?? Buffer.alloc(0);
  response.writeHead(answer.status, {
    date: new Date(options.dateMs).toUTCString(),
    ...answer.headers,
    'content-length': String(body.length),
  });
  if (options.isHead) response.end();
  else if (!options.isCut) response.end(body);
  else response.write(body.subarray(0, body.length >> 1), () => response.destroy());
}

async function handle(
  server: ObjectServer,
  dialect: ServerDialect,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  const seen = dialect.seenOf(request);
  if (seen !== undefined) server.requests.push(seen);
  const fault = seen === undefined ? undefined : server.behaviour.fault(seen);
  if (fault?.what === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms));
  if (fault?.what === 'held') await fault.until;
  const nowMs = Date.now() + server.behaviour.clockAheadMs;
  const answer =
    fault?.what === 'status'
      ? dialect.refusal(fault.status, fault.code)
      : dialect.answer(server, { request, seen, body: Buffer.concat(parts), nowMs });
  if (fault?.what === 'lost-answer') return void response.destroy();
  send(response, answer, {
    isHead: request.method === 'HEAD',
    isCut: fault?.what === 'cut-body',
    dateMs: nowMs,
  });
}

/** Starts a server on a free port of the loopback interface; HTTPS where `tls` is given. */
export async function startObjectServer(
  dialect: ServerDialect,
  tls?: ServerTls,
): Promise<ObjectServer> {
  const sockets = new Set<Socket>();
  const behaviour: ServerBehaviour = {
    fault: () => undefined,
    clockAheadMs: 0,
    isConditional: true,
    pageLength: 1000,
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    handle(server, dialect, { request, response }).catch(() => response.destroy());
  };
  const http = tls ? createSecureServer(tls, listener) : createServer(listener);
  http.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const server: ObjectServer = {
    port: (http.address() as AddressInfo).port,
    behaviour,
    objects: new Map(),
    requests: [],
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
  return server;
}
