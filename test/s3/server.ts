/**
 * An object store that speaks S3 over HTTP or HTTPS, in memory, for tests: signatures are checked,
 * path and virtual-host style, ranges, ListObjectsV2 in pages, conditional puts, and faults that the
 * test orders. Any other request is refused with NotImplemented, so that nothing passes unnoticed.
 */

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { checkSignature } from './signature.ts';

/** What goes wrong with a request. */
export type Fault =
  /** Answers with this status and does nothing. */
  | { readonly what: 'status'; readonly status: number; readonly code: string }
  /** Does what was asked and cuts the connection before the answer. */
  | { readonly what: 'lost-answer' }
  /** Sends half of the answer's body and cuts the connection. */
  | { readonly what: 'cut-body' }
  /** Waits before it answers. */
  | { readonly what: 'slow'; readonly ms: number };

/** A request as a test sees it. */
export interface SeenRequest {
  readonly method: string;
  /** Key of the object; '' for the bucket. */
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
export interface TestS3 {
  readonly port: number;
  readonly behaviour: ServerBehaviour;
  readonly objects: Map<string, Buffer>;
  readonly requests: SeenRequest[];
  close(): Promise<void>;
}

/** Who may ask, and for what. */
export interface TestS3Options {
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** PEM; HTTPS where given. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

function refusal(status: number, code: string): Answer {
  const xml = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  return { status, body: Buffer.from(xml), headers: { 'content-type': 'application/xml' } };
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function listing(server: TestS3, bucket: string, query: URLSearchParams): Answer {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
  const limit = Math.min(server.behaviour.pageLength, Number(query.get('max-keys') ?? 1000));
  const keys = [...server.objects.keys()].filter((key) => key.startsWith(prefix)).toSorted();
  const folders = new Set<string>();
  const names = keys.filter((key) => {
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    if (end >= 0) folders.add(key.slice(0, end + 1));
    return end < 0;
  });
  const page = names.filter((key) => key > after).slice(0, limit);
  const isTruncated = (names.at(-1) ?? '') > (page.at(-1) ?? after);
  const contents = page.map((key) => {
    const bytes = server.objects.get(key) ?? Buffer.alloc(0);
    const etag = createHash('md5').update(bytes).digest('hex');
    return `<Contents><Key>${escapeXml(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>"${etag}"</ETag><Size>${bytes.length}</Size><StorageClass>STANDARD</StorageClass></Contents>`;
  });
  const common = [...folders].map(
    (folder) => `<CommonPrefixes><Prefix>${escapeXml(folder)}</Prefix></CommonPrefixes>`,
  );
  const next = isTruncated
    ? `<NextContinuationToken>${escapeXml(page.at(-1) ?? '')}</NextContinuationToken>`
    : '';
  const xml = `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${bucket}</Name><Prefix>${escapeXml(prefix)}</Prefix><KeyCount>${page.length}</KeyCount><MaxKeys>${limit}</MaxKeys><IsTruncated>${isTruncated}</IsTruncated>${next}${contents.join('')}${common.join('')}</ListBucketResult>`;
  return { status: 200, body: Buffer.from(xml), headers: { 'content-type': 'application/xml' } };
}

function bucketRequest(server: TestS3, bucket: string, { method, query }: SeenRequest): Answer {
  if (method === 'HEAD' || method === 'PUT') return { status: 200 };
  if (method === 'GET' && query.has('location'))
    return { status: 200, body: Buffer.from('<LocationConstraint></LocationConstraint>') };
  if (method === 'GET' && query.get('list-type') === '2') return listing(server, bucket, query);
  return refusal(501, 'NotImplemented');
}

function read(bytes: Buffer, range: string | undefined): Answer {
  const headers = {
    etag: `"${createHash('md5').update(bytes).digest('hex')}"`,
    'last-modified': 'Mon, 01 Jan 2024 00:00:00 GMT',
    'accept-ranges': 'bytes',
  };
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  if (from === undefined) return { status: 200, body: bytes, headers };
  if (Number(from) >= bytes.length) return refusal(416, 'InvalidRange');
  const end = to ? Math.min(Number(to), bytes.length - 1) : bytes.length - 1;
  const body = bytes.subarray(Number(from), end + 1);
  return {
    status: 206,
    body,
    headers: { ...headers, 'content-range': `bytes ${from}-${end}/${bytes.length}` },
  };
}

function objectRequest(
  server: TestS3,
  { method, key, query }: SeenRequest,
  { headers, body }: { headers: IncomingMessage['headers']; body: Buffer },
): Answer {
  if ([...query.keys()].some((name) => name !== 'x-id')) return refusal(501, 'NotImplemented');
  const bytes = server.objects.get(key);
  if (method === 'PUT') {
    const isConditional = headers['if-none-match'] !== undefined;
    if (isConditional && !server.behaviour.isConditional) return refusal(501, 'NotImplemented');
    if (isConditional && bytes !== undefined) return refusal(412, 'PreconditionFailed');
    server.objects.set(key, body);
    return { status: 200, headers: { etag: `"${createHash('md5').update(body).digest('hex')}"` } };
  }
  if (method === 'DELETE') {
    server.objects.delete(key);
    return { status: 204 };
  }
  if (method !== 'GET' && method !== 'HEAD') return refusal(501, 'NotImplemented');
  return bytes === undefined ? refusal(404, 'NoSuchKey') : read(bytes, headers.range);
}

function seenOf(bucket: string, request: IncomingMessage): SeenRequest | undefined {
  const url = new URL(request.url ?? '/', 'http://any');
  const path = decodeURIComponent(url.pathname).slice(1);
  const method = request.method ?? '';
  const query = url.searchParams;
  if (request.headers.host?.startsWith(`${bucket}.`)) return { method, key: path, query };
  if (path !== bucket && !path.startsWith(`${bucket}/`)) return undefined;
  return { method, key: path.slice(bucket.length + 1), query };
}

function answerOf(
  server: TestS3,
  options: TestS3Options,
  {
    request,
    seen,
    body,
  }: { request: IncomingMessage; seen: SeenRequest | undefined; body: Buffer },
): Answer {
  const { method = '', url: target = '', headers } = request;
  const nowMs = Date.now() + server.behaviour.clockAheadMs;
  const verdict = checkSignature({ method, target, headers, body }, { ...options, nowMs });
  if ('refusal' in verdict) return refusal(403, verdict.refusal);
  if (seen === undefined) return refusal(404, 'NoSuchBucket');
  if (seen.key === '') return bucketRequest(server, options.bucket, seen);
  return objectRequest(server, seen, { headers, body: verdict.body });
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
  server: TestS3,
  options: TestS3Options,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  const seen = seenOf(options.bucket, request);
  if (seen !== undefined) server.requests.push(seen);
  const fault = seen === undefined ? undefined : server.behaviour.fault(seen);
  if (fault?.what === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms));
  const answer =
    fault?.what === 'status'
      ? refusal(fault.status, fault.code)
      : answerOf(server, options, { request, seen, body: Buffer.concat(parts) });
  if (fault?.what === 'lost-answer') return void response.destroy();
  const dateMs = Date.now() + server.behaviour.clockAheadMs;
  send(response, answer, {
    isHead: request.method === 'HEAD',
    isCut: fault?.what === 'cut-body',
    dateMs,
  });
}

/** Starts a server on a free port of the loopback interface. */
export async function startTestS3(options: TestS3Options): Promise<TestS3> {
  const sockets = new Set<Socket>();
  const behaviour: ServerBehaviour = {
    fault: () => undefined,
    clockAheadMs: 0,
    isConditional: true,
    pageLength: 1000,
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    handle(server, options, { request, response }).catch(() => response.destroy());
  };
  const http = options.tls ? createSecureServer(options.tls, listener) : createServer(listener);
  http.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const server: TestS3 = {
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
