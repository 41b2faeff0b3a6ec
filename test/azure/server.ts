/**
 * An object store that speaks Azure's Blob service over HTTP or HTTPS, in memory, for tests: what
 * allows a request is checked, accounts in the host or in the path, ranges, List Blobs in pages (some
 * of them empty, as Azure's may be), conditional puts, and faults that the test orders. Any other
 * request is refused, so that nothing passes unnoticed.
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
import { type AzureKeys, checkRequest } from './signature.ts';

/** Who may ask, and for what. */
export interface TestAzureOptions extends AzureKeys {
  /** HTTPS where given. */
  readonly tls?: ServerTls;
}

function refusal(status: number, code: string): Answer {
  const xml = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  const headers = { 'content-type': 'application/xml', 'x-ms-error-code': code };
  return { status, body: Buffer.from(xml), headers };
}

function facts(bytes: Buffer): { etag: string; md5: string } {
  const md5 = createHash('md5').update(bytes).digest();
  return {
    etag: `"0x${md5.toString('hex').slice(0, 15).toUpperCase()}"`,
    md5: md5.toString('base64'),
  };
}

/** Pages end at a marker, the last key before the page; every page but the first has an empty one before it. */
function listing(server: ObjectServer, container: string, query: URLSearchParams): Answer {
  const prefix = query.get('prefix') ?? '';
  const limit = Math.min(server.behaviour.pageLength, Number(query.get('maxresults') ?? 5000));
  const [, kind, after = ''] = /^(empty|after) (.*)$/s.exec(query.get('marker') ?? '') ?? [];
  const keys = [...server.objects.keys()]
    .filter((key) => key.startsWith(prefix) && key > after)
    .toSorted();
  const page = kind === 'empty' ? [] : keys.slice(0, limit);
  const more = keys.length > page.length;
  const next = kind === 'empty' ? `after ${after}` : more ? `empty ${page.at(-1)}` : '';
  const blobs = page.map((key) => {
    const bytes = server.objects.get(key) ?? Buffer.alloc(0);
    const { etag, md5 } = facts(bytes);
    const properties = `<Last-Modified>Mon, 01 Jan 2024 00:00:00 GMT</Last-Modified><Etag>${etag}</Etag><Content-Length>${bytes.length}</Content-Length><Content-Type>application/octet-stream</Content-Type><Content-MD5>${md5}</Content-MD5><BlobType>BlockBlob</BlobType>`;
    return `<Blob><Name>${escapeXml(key)}</Name><Properties>${properties}</Properties></Blob>`;
  });
  // A folder of an account with a hierarchical namespace: it is no object.
  const folder = `<Blob><Name>${escapeXml(`${prefix}folder`)}</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>`;
  const xml = `\uFEFF<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://any/" ContainerName="${container}"><Prefix>${escapeXml(prefix)}</Prefix><Blobs>${kind === undefined ? folder : ''}${blobs.join('')}</Blobs><NextMarker>${escapeXml(next)}</NextMarker></EnumerationResults>`;
  return { status: 200, body: Buffer.from(xml), headers: { 'content-type': 'application/xml' } };
}

function containerRequest(
  server: ObjectServer,
  container: string,
  { method, query }: SeenRequest,
): Answer {
  if (query.get('restype') !== 'container') return refusal(400, 'InvalidUri');
  if (method === 'GET' && query.get('comp') === 'list') return listing(server, container, query);
  if (query.has('comp')) return refusal(501, 'NotImplemented');
  if (method === 'PUT') return refusal(409, 'ContainerAlreadyExists');
  return method === 'GET' || method === 'HEAD' ? { status: 200 } : refusal(501, 'NotImplemented');
}

function read(bytes: Buffer, range: string | undefined): Answer {
  const headers = {
    etag: facts(bytes).etag,
    'last-modified': 'Mon, 01 Jan 2024 00:00:00 GMT',
    'x-ms-blob-type': 'BlockBlob',
  };
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  if (from === undefined) return { status: 200, body: bytes, headers };
  if (Number(from) >= bytes.length) return refusal(416, 'InvalidRange');
  const end = to ? Math.min(Number(to), bytes.length - 1) : bytes.length - 1;
  const contentRange = { 'content-range': `bytes ${from}-${end}/${bytes.length}` };
  return {
    status: 206,
    body: bytes.subarray(Number(from), end + 1),
    headers: { ...headers, ...contentRange },
  };
}

function put(server: ObjectServer, key: string, { request, body }: ArrivedRequest): Answer {
  const { headers } = request;
  if (headers['x-ms-blob-type'] !== 'BlockBlob') return refusal(400, 'MissingRequiredHeader');
  const isThere = server.objects.has(key);
  if (headers['if-none-match'] === '*' && isThere) return refusal(409, 'BlobAlreadyExists');
  server.objects.set(key, body);
  const { etag, md5 } = facts(body);
  return { status: 201, headers: { etag, 'content-md5': md5 } };
}

function blobRequest(server: ObjectServer, seen: SeenRequest, arrived: ArrivedRequest): Answer {
  const { method, key, query } = seen;
  if (query.has('comp')) return refusal(501, 'NotImplemented');
  if (method === 'PUT') return put(server, key, arrived);
  const bytes = server.objects.get(key);
  if (bytes === undefined) return refusal(404, 'BlobNotFound');
  if (method === 'DELETE') {
    server.objects.delete(key);
    return { status: 202 };
  }
  if (method !== 'GET' && method !== 'HEAD') return refusal(501, 'NotImplemented');
  const { headers } = arrived.request;
  return read(bytes, String(headers['x-ms-range'] ?? headers.range));
}

function seenOf(
  { account, container }: TestAzureOptions,
  request: IncomingMessage,
): SeenRequest | undefined {
  const url = new URL(request.url ?? '/', 'http://any');
  const path = decodeURIComponent(url.pathname).slice(1);
  const isInHost = request.headers.host?.startsWith(`${account}.`) === true;
  const inAccount = isInHost ? path : path.replace(`${account}/`, '');
  if (inAccount !== container && !inAccount.startsWith(`${container}/`)) return undefined;
  const key = inAccount.slice(container.length + 1);
  return { method: request.method ?? '', key, query: url.searchParams };
}

function answerOf(
  server: ObjectServer,
  options: TestAzureOptions,
  arrived: ArrivedRequest,
): Answer {
  const { request, seen, body, nowMs } = arrived;
  const { method = '', url: target = '', headers } = request;
  const wrong = checkRequest({ method, target, headers, body }, { ...options, nowMs });
  if (wrong !== undefined) return refusal(wrong === 'Md5Mismatch' ? 400 : 403, wrong);
  if (headers['x-ms-version'] === undefined) return refusal(400, 'MissingRequiredHeader');
  if (seen === undefined) return refusal(404, 'ContainerNotFound');
  if (seen.key === '') return containerRequest(server, options.container, seen);
  return blobRequest(server, seen, arrived);
}

/** Starts a server on a free port of the loopback interface. */
export function startTestAzure(options: TestAzureOptions): Promise<ObjectServer> {
  const dialect = {
    seenOf: (request: IncomingMessage) => seenOf(options, request),
    answer: (server: ObjectServer, arrived: ArrivedRequest) => answerOf(server, options, arrived),
    refusal,
  };
  return startObjectServer(dialect, options.tls);
}
