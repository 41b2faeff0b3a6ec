/**
 * An object store that speaks S3 over HTTP or HTTPS, in memory, for tests: signatures are checked,
 * path and virtual-host style, ranges, ListObjectsV2 in pages, conditional puts, and faults that the
 * test orders. Any other request is refused with NotImplemented, so that nothing passes unnoticed.
 */

import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import {
  type Answer,
  type ArrivedRequest,
  escapeXml,
  type ObjectServer,
  type SeenRequest,
  type ServerTls,
  startObjectServer,
} from '../object-stores/server.ts';
import { checkSignature } from './signature.ts';

/** A server that runs. */
export type TestS3 = ObjectServer;

export type { Fault } from '../object-stores/server.ts';

/** Who may ask, and for what. */
export interface TestS3Options {
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** PEM; HTTPS where given. */
  readonly tls?: ServerTls;
}

function refusal(status: number, code: string): Answer {
  const xml = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  return { status, body: Buffer.from(xml), headers: { 'content-type': 'application/xml' } };
}

function listing(server: ObjectServer, bucket: string, query: URLSearchParams): Answer {
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

function bucketRequest(
  server: ObjectServer,
  bucket: string,
  { method, query }: SeenRequest,
): Answer {
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
  server: ObjectServer,
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
  server: ObjectServer,
  options: TestS3Options,
  { request, seen, body, nowMs }: ArrivedRequest,
): Answer {
  const { method = '', url: target = '', headers } = request;
  const verdict = checkSignature({ method, target, headers, body }, { ...options, nowMs });
  if ('refusal' in verdict) return refusal(403, verdict.refusal);
  if (seen === undefined) return refusal(404, 'NoSuchBucket');
  if (seen.key === '') return bucketRequest(server, options.bucket, seen);
  return objectRequest(server, seen, { headers, body: verdict.body });
}

/** Starts a server on a free port of the loopback interface. */
export function startTestS3(options: TestS3Options): Promise<TestS3> {
  const { bucket, tls } = options;
  const dialect = {
    seenOf: (request: IncomingMessage) => seenOf(bucket, request),
    answer: (server: ObjectServer, arrived: ArrivedRequest) => answerOf(server, options, arrived),
    refusal,
  };
  return startObjectServer(dialect, tls);
}
