/**
 * Objects in a bucket of any store that speaks S3 with signature version 4. A put carries the
 * SHA-256 of its bytes in the signature, so that the store refuses what was changed on the way.
 */
import { HoldfastError } from '@holdfast/protocol';
import { AwsV4Signer } from 'aws4fetch';
import { storageIdOf } from '../format/ids.ts';
import { type CredentialSource, credentialChain } from './credentials.ts';
import { errorCodeOf, parseBucketListing } from './documents.ts';
import type { HttpAnswer, HttpRequest } from './http.ts';
import type { ByteRange, PutOptions, Store, StoredObject } from './store.ts';
import {
  bytesOfRange,
  type ConnectionOptions,
  checkPrefix,
  endpointUrl,
  type StoreCall,
  StoreClient,
  type StoreDialect,
} from './store-client.ts';

/** Which bucket, where, as whom. */
export interface S3Options extends ConnectionOptions {
  /** `https://s3.eu-central-1.amazonaws.com`, `http://minio:9000`. */
  readonly endpoint: string;
  readonly bucket: string;
  /** Folder of the repository in the bucket, without slashes at its ends; '' or absent: the bucket. */
  readonly prefix?: string;
  readonly region?: string;
  /** `https://endpoint/bucket/key` (default but for AWS itself) or `https://bucket.endpoint/key`. */
  readonly pathStyle?: boolean;
  readonly credentials?: CredentialSource;
}

const EMPTY_SHA256 = storageIdOf(new Uint8Array(0));
const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 409, 425, 429, 500, 502, 503, 504]);

class S3Dialect implements StoreDialect {
  readonly clockReason = 'RequestTimeTooSkewed';
  readonly #credentials: CredentialSource;
  readonly #base: URL;
  readonly #prefix: string;
  readonly #region: string;

  constructor(options: S3Options) {
    this.#credentials = options.credentials ?? credentialChain();
    this.#base = baseOf(options);
    this.#prefix = checkPrefix(options.prefix ?? '');
    this.#region = options.region ?? 'us-east-1';
  }

  async sign(call: StoreCall, nowMs: number): Promise<HttpRequest> {
    const { method, key, query = {}, sha256 = EMPTY_SHA256 } = call;
    const url = new URL(this.#base);
    if (key !== undefined) url.pathname += `${this.#prefix}${key}`;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const signer = new AwsV4Signer({
      ...(await this.#credentials()),
      method,
      url: url.href,
      headers: { ...call.headers, 'x-amz-content-sha256': sha256 },
      service: 's3',
      region: this.#region,
      datetime: new Date(nowMs).toISOString().replace(/[:-]|\.\d{3}/g, ''),
    });
    const signed = await signer.sign();
    const headers = Object.fromEntries(new Headers(signed.headers).entries());
    return { method, url: signed.url, headers };
  }

  reasonOf({ body }: HttpAnswer): string {
    return errorCodeOf(body);
  }

  isTransient(status: number): boolean {
    return TRANSIENT_STATUS.has(status);
  }
}

/** A {@link Store} in a bucket. */
export class S3Store implements Store {
  readonly #client: StoreClient;
  readonly #prefix: string;
  /** Unset until the store refused `If-None-Match`. */
  #isUnconditional = false;

  constructor(options: S3Options) {
    this.#client = new StoreClient(new S3Dialect(options), options);
    this.#prefix = checkPrefix(options.prefix ?? '');
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
    const call: StoreCall = {
      method: 'PUT',
      key,
      body: bytes,
      sha256,
      accept: [400, 412, 501],
      ...conditional,
      ...signal,
    };
    const answer = await this.#client.call(call, () => attempts++);
    if (answer.status === 412) {
      // Perhaps ours: the answer to an earlier attempt was lost.
      const isOurs = attempts > 1 && storageIdOf(await this.get(key)) === sha256;
      return isOurs ? 'created' : 'exists';
    }
    if (answer.status < 300) return 'created';
    if (this.#isUnconditional) throw this.#client.refusal(answer, key);
    this.#isUnconditional = true;
    return this.put(key, bytes, { ...options, sha256 });
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Uint8Array> {
    if (range?.length === 0) return new Uint8Array(0);
    const last = range === undefined ? 0 : range.offset + range.length - 1;
    const headers = range === undefined ? {} : { range: `bytes=${range.offset}-${last}` };
    const call: StoreCall = { method: 'GET', key, headers, ...(signal ? { signal } : {}) };
    const answer = await this.#client.call(call);
    return range === undefined ? answer.body : bytesOfRange(answer, range, key);
  }

  async size(key: string, signal?: AbortSignal): Promise<number | undefined> {
    const call: StoreCall = { method: 'HEAD', key, accept: [404], ...(signal ? { signal } : {}) };
    const { status, headers } = await this.#client.call(call);
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
      const call: StoreCall = { method: 'GET', query, ...(signal ? { signal } : {}) };
      const page = parseBucketListing((await this.#client.call(call)).body.toString('utf8'));
      for (const { key, bytes } of page.objects)
        yield { key: key.slice(this.#prefix.length), bytes };
      token = page.next;
    } while (token !== undefined);
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await this.#client.call({ method: 'DELETE', key, accept: [404], ...(signal && { signal }) });
  }

  /** Closes idle connections; the store may still be used. */
  close(): void {
    this.#client.close();
  }
}

function baseOf({ endpoint, bucket, pathStyle }: S3Options): URL {
  const url = endpointUrl(endpoint);
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket))
    throw new HoldfastError('BAD_CONFIG', `${bucket} cannot be the name of a bucket`);
  const isPath = pathStyle ?? !url.hostname.endsWith('.amazonaws.com');
  if (isPath) url.pathname = `${url.pathname.replace(/\/$/, '')}/${bucket}/`;
  else url.hostname = `${bucket}.${url.hostname}`;
  return url;
}
