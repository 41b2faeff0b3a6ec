/**
 * Checks signature version 4 of requests to S3, in headers, of whole and of streamed bodies
 * (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html). Written apart from
 * any client, so that a mistake of a client is not repeated here.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** A request as it arrived. */
export interface SignedRequest {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What a check says: the bytes of the object, or the code of the refusal. */
export type Verdict = { readonly body: Buffer } | { readonly refusal: string };

const EMPTY = createHash('sha256').digest('hex');

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hmac(key: Uint8Array | string, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function canonicalQuery(query: string): string {
  if (query === '') return '';
  return query
    .split('&')
    .map((pair) => {
      const [name = '', value = ''] = pair.split('=');
      return `${encode(decodeURIComponent(name))}=${encode(decodeURIComponent(value))}`;
    })
    .toSorted()
    .join('&');
}

function canonicalRequest(request: SignedRequest, names: readonly string[], hash: string): string {
  const [path = '', query = ''] = request.target.split('?');
  const segments = path.split('/').map((segment) => encode(decodeURIComponent(segment)));
  const headers = names.map((name) => {
    const value = String(request.headers[name] ?? '').trim();
    return `${name}:${value.replace(/\s+/g, ' ')}\n`;
  });
  const parts = [request.method, segments.join('/'), canonicalQuery(query), headers.join('')];
  return [...parts, names.join(';'), hash].join('\n');
}

/** The chunks of a streamed body, each with a signature that continues the one before. */
function streamed(
  body: Buffer,
  sign: (text: string) => string,
  { seed, when, scope }: { seed: string; when: string; scope: string },
): Verdict {
  const parts: Buffer[] = [];
  let previous = seed;
  for (let at = 0; ; ) {
    const lineEnd = body.indexOf('\r\n', at);
    const line = body.toString('latin1', at, lineEnd);
    const match = /^([0-9a-f]+);chunk-signature=([0-9a-f]{64})$/.exec(line);
    if (match === null) return { refusal: 'IncompleteBody' };
    const length = Number.parseInt(match[1] ?? '', 16);
    const data = body.subarray(lineEnd + 2, lineEnd + 2 + length);
    if (data.length !== length) return { refusal: 'IncompleteBody' };
    const text = ['AWS4-HMAC-SHA256-PAYLOAD', when, scope, previous, EMPTY, sha256(data)].join(
      '\n',
    );
    if (sign(text) !== match[2]) return { refusal: 'SignatureDoesNotMatch' };
    if (length === 0) return { body: Buffer.concat(parts) };
    parts.push(data);
    previous = match[2];
    at = lineEnd + 2 + length + 2;
  }
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

function timeOf(text: string): number {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** Largest difference of clocks, as at AWS. */
const SKEW_MS_MAX = 15 * 60_000;

/** Checks who sent a request, when, and that nothing of it was changed. */
export function checkSignature(
  request: SignedRequest,
  options: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly nowMs: number;
  },
): Verdict {
  const { headers, body } = request;
  const match = AUTHORIZATION.exec(headers.authorization ?? '');
  if (match === null) return { refusal: 'AccessDenied' };
  const [, id, day = '', region = '', signed = '', signature = ''] = match;
  const when = String(headers['x-amz-date'] ?? '');
  const hash = String(headers['x-amz-content-sha256'] ?? '');
  if (id !== options.accessKeyId) return { refusal: 'InvalidAccessKeyId' };
  if (!when.startsWith(day)) return { refusal: 'SignatureDoesNotMatch' };
  if (!(Math.abs(timeOf(when) - options.nowMs) <= SKEW_MS_MAX))
    return { refusal: 'RequestTimeTooSkewed' };
  const key = ['s3', 'aws4_request'].reduce(
    hmac,
    hmac(hmac(`AWS4${options.secretAccessKey}`, day), region),
  );
  const sign = (text: string): string => hmac(key, text).toString('hex');
  const names = signed.split(';');
  if (!names.includes('host')) return { refusal: 'SignatureDoesNotMatch' };
  const scope = `${day}/${region}/s3/aws4_request`;
  const canonical = sha256(canonicalRequest(request, names, hash));
  if (sign(['AWS4-HMAC-SHA256', when, scope, canonical].join('\n')) !== signature)
    return { refusal: 'SignatureDoesNotMatch' };
  if (hash === 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD')
    return streamed(body, sign, { seed: signature, when, scope });
  if (hash !== 'UNSIGNED-PAYLOAD' && hash !== sha256(body))
    return { refusal: 'XAmzContentSHA256Mismatch' };
  return { body };
}
