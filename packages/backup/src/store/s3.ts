/**
 * Objects in a bucket of any store that speaks S3 with signature version 4. A put carries the
 * SHA-256 of its bytes in the signature, so that the store refuses what was changed on the way.
 */
import { HoldfastError } from '@holdfast/protocol';
import { AwsV4Signer } from 'aws4fetch';
import { storageIdOf } from '../format/ids.ts';
import { type CredentialSource, credentialChain } from './credentials.ts';
import { type HttpAnswer, HttpClient, type HttpOptions } from './http.ts';
import {
  RETRY_POLICY,
  type RetryPolicy,
  type RetrySurroundings,
  TransientError,
  withRetry,
} from './retry.ts';
import { errorCodeOf, parseListing } from './s3-documents.ts';
import type { ByteRange, PutOptions, Store, StoredObject } from './store.ts';

/** Which bucket, where, as whom. */
export interface S3Options {
  /** `https://s3.eu-central-1.amazonaws.com`, `http://minio:9000`. */
  readonly endpoint: string;
  readonly bucket: string;
  /** Folder of the repository in the bucket, without slashes at its ends; '' or absent: the bucket. */
  readonly prefix?: string;
  readonly region?: string;
  /** `https://endpoint/bucket/key` (default but for AWS itself) or `https://bucket.endpoint/key`. */
  readonly pathStyle?: boolean;
  readonly credentials?: CredentialSource;
  /** PEM of the authority that signed the certificate of the endpoint. */
  readonly ca?: string;
  readonly lookup?: HttpOptions['lookup'];
  readonly retry?: RetryPolicy;
  readonly surroundings: RetrySurroundings & { readonly nowMs: () => number };
  /** Milliseconds without a byte in either direction after which a request is given up. */
  readonly idleMs?: number;
}

interface Call {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly sha256?: string;
  /** Answers other than 2xx that the caller understands. */
  readonly accept?: readonly number[];
  readonly signal?: AbortSignal;
}

const IDLE_MS = 30_000;
const CONNECTIONS_MAX = 16;
const EMPTY_SHA256 = storageIdOf(new Uint8Array(0));
const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 409, 425, 429, 500, 502, 503, 504]);

/** A {@link Store} in a bucket. */
export class S3Store implements Store {
  readonly #options: S3Options;
  readonly #http: HttpClient;
  readonly #credentials: CredentialSource;
  readonly #base: URL;
  readonly #prefix: string;
  /** What the store's clock is ahead of ours, once a request was refused for it. */
  #skewMs = 0;
  /** Unset until the store refused `If-None-Match`. */
  #isUnconditional = false;

  constructor(options: S3Options) {
    this.#options = options;
    this.#credentials = options.credentials ?? credentialChain();
    this.#base = baseOf(options);
    this.#prefix = options.prefix ? `${options.prefix}/` : '';
    this.#http = new HttpClient({
      idleMs: options.idleMs ?? IDLE_MS,
      connectionsMax: CONNECTIONS_MAX,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    });
  }

  async put(
    key: string,
    bytes: Uint8Array,
    options: PutOptions = {},
  ): Promise<'created' | 'exists'> {
    const sha256 = options.sha256 ?? storageIdOf(bytes);
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    if (this.#isUnconditional && (await this.size(key, options.signal)) !== undefined)
      return 'exists';
    let attempts = 0;
    const conditional = this.#isUnconditional ? {} : { headers: { 'if-none-match': '*' } };
    const call: Call = {
      method: 'PUT',
      key,
      body: bytes,
      sha256,
      accept: [400, 412, 501],
      ...conditional,
      ...signal,
    };
    const answer = await this.#call(call, () => attempts++);
    if (answer.status === 412) {
      // Perhaps ours: the answer to an earlier attempt was lost.
      const isOurs = attempts > 1 && storageIdOf(await this.get(key)) === sha256;
      return isOurs ? 'created' : 'exists';
    }
    if (answer.status < 300) return 'created';
    if (this.#isUnconditional) throw refusal(answer, key);
    this.#isUnconditional = true;
    return this.put(key, bytes, { ...options, sha256 });
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Uint8Array> {
    if (range?.length === 0) return new Uint8Array(0);
    const last = range === undefined ? 0 : range.offset + range.length - 1;
    const headers = range === undefined ? {} : { range: `bytes=${range.offset}-${last}` };
    const call: Call = { method: 'GET', key, headers, ...(signal ? { signal } : {}) };
    const { status, body } = await this.#call(call);
    if (range === undefined) return body;
    // A store that knows no ranges sends everything.
    const part = status === 206 ? body : body.subarray(range.offset, last + 1);
    if (part.length === range.length) return part;
    throw new HoldfastError('CORRUPT', `${key} ends before its range`, { detail: { key } });
  }

  async size(key: string, signal?: AbortSignal): Promise<number | undefined> {
    const call: Call = { method: 'HEAD', key, accept: [404], ...(signal ? { signal } : {}) };
    const { status, headers } = await this.#call(call);
    return status === 404 ? undefined : Number(headers['content-length']);
  }

  async *list(folder: string, signal?: AbortSignal): AsyncIterable<StoredObject> {
    let token: string | undefined;
    do {
      const query: Record<string, string> = {
        'list-type': '2',
        prefix: `${this.#prefix}${folder}`,
        ...(token === undefined ? {} : { 'continuation-token': token }),
      };
      const { body } = await this.#call({ method: 'GET', query, ...(signal ? { signal } : {}) });
      const page = parseListing(body.toString('utf8'));
      for (const { key, bytes } of page.objects)
        yield { key: key.slice(this.#prefix.length), bytes };
      token = page.next;
    } while (token !== undefined);
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await this.#call({ method: 'DELETE', key, accept: [404], ...(signal ? { signal } : {}) });
  }

  /** Closes idle connections; the store may still be used. */
  close(): void {
    this.#http.close();
  }

  #call(call: Call, onAttempt: () => void = () => {}): Promise<HttpAnswer> {
    const { surroundings, retry: policy = RETRY_POLICY } = this.#options;
    const signal = call.signal === undefined ? {} : { signal: call.signal };
    return withRetry(
      async () => {
        onAttempt();
        return this.#attempt(call);
      },
      { policy, surroundings, ...signal },
    );
  }

  async #attempt(call: Call): Promise<HttpAnswer> {
    let answer: HttpAnswer;
    try {
      answer = await this.#sendSigned(call);
    } catch (error) {
      const isOutage = error instanceof HoldfastError && error.code === 'UNREACHABLE';
      throw isOutage ? new TransientError('no answer', { cause: error }) : error;
    }
    const { status } = answer;
    if (status < 300 || call.accept?.includes(status)) return answer;
    const error = refusal(answer, call.key ?? '');
    const isTransient = TRANSIENT_STATUS.has(status) || this.#learnClock(answer);
    throw isTransient ? new TransientError('refused for now', { cause: error }) : error;
  }

  async #sendSigned(call: Call): Promise<HttpAnswer> {
    const { method, key, query = {}, body, sha256 = EMPTY_SHA256, signal } = call;
    const url = new URL(this.#base);
    if (key !== undefined) url.pathname += `${this.#prefix}${key}`;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const now = new Date(this.#options.surroundings.nowMs() + this.#skewMs);
    const signer = new AwsV4Signer({
      ...(await this.#credentials()),
      method,
      url: url.href,
      headers: { ...call.headers, 'x-amz-content-sha256': sha256 },
      service: 's3',
      region: this.#options.region ?? 'us-east-1',
      datetime: now.toISOString().replace(/[:-]|\.\d{3}/g, ''),
    });
    const signed = await signer.sign();
    const headers = Object.fromEntries(new Headers(signed.headers).entries());
    return this.#http.send({
      method,
      url: signed.url,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** A request refused for its time is signed anew by the store's clock, once it is known. */
  #learnClock({ status, headers, body }: HttpAnswer): boolean {
    if (status !== 403 || errorCodeOf(body) !== 'RequestTimeTooSkewed') return false;
    const theirs = Date.parse(String(headers['date']));
    if (Number.isNaN(theirs)) return false;
    const before = this.#skewMs;
    this.#skewMs = theirs - this.#options.surroundings.nowMs();
    return Math.abs(before - this.#skewMs) > 60_000;
  }
}

function baseOf({ endpoint, bucket, prefix = '', pathStyle }: S3Options): URL {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch (cause) {
    throw new HoldfastError('BAD_CONFIG', `the S3 endpoint is no URL: ${endpoint}`, { cause });
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket))
    throw new HoldfastError('BAD_CONFIG', `${bucket} cannot be the name of a bucket`);
  // What a signature must spell exactly as the store does is kept to what all spell alike.
  if (!/^[\w.~/-]*$/.test(prefix))
    throw new HoldfastError('BAD_CONFIG', `${prefix}: a prefix has letters, digits, . _ ~ - and /`);
  const isPath = pathStyle ?? !url.hostname.endsWith('.amazonaws.com');
  if (isPath) url.pathname = `${url.pathname.replace(/\/$/, '')}/${bucket}/`;
  else url.hostname = `${bucket}.${url.hostname}`;
  return url;
}

function refusal({ status, body }: HttpAnswer, key: string): HoldfastError {
  const reason = errorCodeOf(body);
  const options = { detail: { key, status, reason } };
  const text = `the object store answers ${status} ${reason} for ${key || 'the bucket'}`;
  if (status === 404) return new HoldfastError('NOT_FOUND', text, options);
  if (status === 401 || status === 403) return new HoldfastError('FORBIDDEN', text, options);
  if (status === 416) return new HoldfastError('CORRUPT', text, options);
  if (status === 507) return new HoldfastError('ENOSPC', text, options);
  return new HoldfastError('UNREACHABLE', text, options);
}
