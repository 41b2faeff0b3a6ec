import { readFile } from 'node:fs/promises';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { dirname, join } from 'node:path';
import { fromWireError, HoldfastError, LIMITS, type WireError } from '@holdfast/protocol';

/** Milliseconds for one call: longer than the cluster's own bounded wait of 30 s. */
const CALL_MS_MAX = 45_000;

/** Where the admin API is: the local daemon's socket, or a peer's address with our certificate. */
export interface AdminTarget {
  readonly dataDirectory: string;
  /** host:port of a peer's admin API; the local socket when absent. */
  readonly host?: string;
}

/**
 * One call of the admin API. Throws UNREACHABLE when no daemon answers, or the API's own error.
 */
export async function callAdmin<T>(
  target: AdminTarget,
  method: string,
  path: string,
  body?: unknown,
): Promise<T> {
  const options: RequestOptions = {
    method,
    path,
    timeout: CALL_MS_MAX,
    headers: {
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
  };
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const { status, text } = await send(target, options, payload);
  const parsed = text === '' ? undefined : parse(text, target);
  if (status < 400) return parsed as T;
  throw fromWireError(asWireError(parsed, status));
}

async function send(
  target: AdminTarget,
  options: RequestOptions,
  payload: string | undefined,
): Promise<{ status: number; text: string }> {
  const where = target.host ?? join(target.dataDirectory, 'admin.sock');
  const complete =
    target.host === undefined
      ? { ...options, socketPath: where }
      : { ...options, ...(await remote(target.dataDirectory, target.host)) };
  const start = target.host === undefined ? httpRequest : httpsRequest;
  return new Promise((resolve, reject) => {
    const request = start(complete, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 500, text }));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', (cause) => reject(unreachable(where, cause)));
    request.end(payload);
  });
}

async function remote(
  dataDirectory: string,
  host: string,
): Promise<RequestOptions & Record<string, unknown>> {
  const identity = join(dataDirectory, 'identity');
  const [, name = '', digits = ''] = /^(?:\[?)([^[\]]+?)(?:\]?):(\d{1,5})$/.exec(host) ?? [];
  const port = Number(digits);
  if (name === '' || port < 1 || port > 65_535)
    throw new HoldfastError(
      'BAD_REQUEST',
      `--host must be HOST:PORT with a port from 1 to 65535, not '${host}'`,
    );
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'cert.pem', 'key.pem'].map((file) => readFile(join(identity, file), 'utf8')),
  ).catch((cause: unknown) => {
    throw new HoldfastError(
      'NOT_FOUND',
      `--host needs this host's certificate in ${identity}; run 'holdfast join TOKEN' first`,
      { cause },
    );
  });
  // Certificates name cluster and role by URI, not hosts: the CA is what is checked.
  return {
    host: name,
    port,
    ca,
    cert,
    key,
    checkServerIdentity: () => undefined,
  };
}

function unreachable(where: string, cause: NodeJS.ErrnoException): HoldfastError {
  if (cause.code === 'EACCES' || cause.code === 'EPERM')
    return new HoldfastError('EACCES', `${where} may not be used; run it as root (sudo)`, {
      cause,
    });
  if (cause.code === 'ENOTDIR')
    return new HoldfastError('ENOTDIR', `${dirname(where)} is not a directory; correct --data`, {
      cause,
    });
  if (where.startsWith('/') && Buffer.byteLength(where) > LIMITS.socketPathBytesMax) {
    const text = `the path ${where} has more than ${LIMITS.socketPathBytesMax} bytes, too long for a socket; correct --data`;
    return new HoldfastError('ENAMETOOLONG', text, { cause });
  }
  return new HoldfastError(
    'UNREACHABLE',
    `no peer answers at ${where} (${cause.code ?? cause.message}); start it with 'holdfast run', or name another with --host`,
    { cause },
  );
}

function parse(text: string, { host }: AdminTarget): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (host === undefined)
      throw new HoldfastError('INTERNAL', 'the admin API did not answer with JSON', { cause });
    const message = `${host} is not the admin API of a peer: that is the third of its ports (7402 by default); correct --host`;
    throw new HoldfastError('BAD_REQUEST', message, { cause });
  }
}

function asWireError(parsed: unknown, status: number): WireError {
  if (typeof parsed === 'object' && parsed !== null && 'code' in parsed && 'message' in parsed) {
    return parsed as WireError;
  }
  return { code: 'INTERNAL', message: `the admin API answered with status ${status}` };
}
