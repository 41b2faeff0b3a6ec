/**
 * Objects as block blobs in a container of Azure Blob Storage, by its REST interface with Shared Key
 * or a shared access signature (learn.microsoft.com/rest/api/storageservices). A put carries the MD5
 * of its bytes, so that the store refuses what was changed on the way.
 */
import { createHash, createHmac } from 'node:crypto';
import { HoldfastError } from '@holdfast/protocol';
import { storageIdOf } from '../format/ids.ts';
import type { AzureAccount } from './azure-account.ts';
import { errorCodeOf, parseContainerListing } from './documents.ts';
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

/** Which container, where, as whom. */
export interface AzureOptions extends ConnectionOptions {
  readonly account: AzureAccount;
  readonly container: string;
  /** Folder of the repository in the container, without slashes at its ends; '' or absent: all of it. */
  readonly prefix?: string;
}

/** Of the interface: Azure has served it since 2021, Azurite since 3.15. */
const VERSION = '2020-10-02';
const TRANSIENT_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** Refusals that pass: the bytes were changed on the way; a container of the name is being deleted. */
const TRANSIENT_REASON: ReadonlySet<string> = new Set(['Md5Mismatch', 'ContainerBeingDeleted']);
/** Headers that Shared Key signs, in this order, behind the method. */
const SIGNED_HEADERS = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-type',
  'date',
  'if-modified-since',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
  'range',
] as const;

class AzureDialect implements StoreDialect {
  // Azure gives the same code for a wrong key: that is told apart by its clock being ours.
  readonly clockReason = 'AuthenticationFailed';
  readonly #account: AzureAccount;
  readonly #key: Buffer | undefined;
  readonly #base: URL;
  readonly #prefix: string;

  constructor({ account, container, prefix = '' }: AzureOptions) {
    if (!/^(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*$/.test(container))
      throw new HoldfastError(
        'BAD_CONFIG',
        `'${container}' cannot be a container: 3 to 63 lower case letters, digits and single hyphens`,
      );
    this.#account = account;
    this.#key = account.key === undefined ? undefined : Buffer.from(account.key, 'base64');
    this.#base = endpointUrl(account.endpoint);
    this.#base.pathname = `${this.#base.pathname.replace(/\/+$/, '')}/${container}`;
    this.#prefix = checkPrefix(prefix);
  }

  async sign(call: StoreCall, nowMs: number): Promise<HttpRequest> {
    const { method, key, query = {}, body } = call;
    const url = new URL(this.#base);
    if (key !== undefined) url.pathname += `/${this.#prefix}${key}`;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const headers: Record<string, string> = {
      ...call.headers,
      'x-ms-date': new Date(nowMs).toUTCString(),
      'x-ms-version': VERSION,
    };
    if (this.#key === undefined) {
      // Appended as it is: its signature is of the very characters.
      url.search = [url.search.slice(1), this.#account.sas].filter(Boolean).join('&');
      return { method, url, headers };
    }
    const length =
      body === undefined || body.length === 0 ? {} : { 'content-length': `${body.length}` };
    const text = this.#stringToSign(method, url, { ...headers, ...length });
    const signature = createHmac('sha256', this.#key).update(text, 'utf8').digest('base64');
    const authorization = `SharedKey ${this.#account.name}:${signature}`;
    return { method, url, headers: { ...headers, authorization } };
  }

  #stringToSign(method: string, url: URL, headers: Readonly<Record<string, string>>): string {
    const own = Object.keys(headers)
      .filter((name) => name.startsWith('x-ms-'))
      .toSorted()
      .map((name) => `${name}:${headers[name]}`);
    const query = [...url.searchParams]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name}:${value}`);
    const resource = `/${this.#account.name}${url.pathname}`;
    const standard = SIGNED_HEADERS.map((name) => headers[name] ?? '');
    return [method, ...standard, ...own, resource, ...query].join('\n');
  }

  reasonOf({ headers, body }: HttpAnswer): string {
    const code = headers['x-ms-error-code'];
    return typeof code === 'string' ? code : errorCodeOf(body);
  }

  isTransient(status: number, reason: string): boolean {
    return TRANSIENT_STATUS.has(status) || TRANSIENT_REASON.has(reason);
  }
}

/** A {@link Store} in a container. */
export class AzureStore implements Store {
  readonly #client: StoreClient;
  readonly #prefix: string;

  constructor(options: AzureOptions) {
    this.#client = new StoreClient(new AzureDialect(options), options);
    this.#prefix = checkPrefix(options.prefix ?? '');
  }

  async put(
    key: string,
    bytes: Uint8Array,
    options: PutOptions = {},
  ): Promise<'created' | 'exists'> {
    let attempts = 0;
    const call: StoreCall = {
      method: 'PUT',
      key,
      body: bytes,
      headers: {
        'x-ms-blob-type': 'BlockBlob',
        'content-md5': createHash('md5').update(bytes).digest('base64'),
        'if-none-match': '*',
      },
      accept: [409, 412],
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
    const answer = await this.#client.call(call, () => attempts++);
    if (answer.status < 300) return 'created';
    const error = this.#client.refusal(answer, key);
    const isThere = answer.status === 412 || error.detail?.['reason'] === 'BlobAlreadyExists';
    if (!isThere) throw error;
    if (attempts === 1) return 'exists';
    // Perhaps ours: the answer to an earlier attempt was lost.
    const there = storageIdOf(await this.get(key, undefined, options.signal));
    return there === (options.sha256 ?? storageIdOf(bytes)) ? 'created' : 'exists';
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Uint8Array> {
    if (range?.length === 0) return new Uint8Array(0);
    const last = range === undefined ? 0 : range.offset + range.length - 1;
    const headers = range === undefined ? {} : { 'x-ms-range': `bytes=${range.offset}-${last}` };
    const call: StoreCall = { method: 'GET', key, headers, ...(signal ? { signal } : {}) };
    const answer = await this.#client.call(call);
    return range === undefined ? answer.body : bytesOfRange(answer, range, key);
  }

  async size(key: string, signal?: AbortSignal): Promise<number | undefined> {
    const call: StoreCall = { method: 'HEAD', key, accept: [404], ...(signal ? { signal } : {}) };
    const answer = await this.#client.call(call);
    if (answer.status < 300) return Number(answer.headers['content-length']);
    // A container that is missing is not an object that is missing.
    const error = this.#client.refusal(answer, key);
    if (error.detail?.['reason'] === 'ContainerNotFound') throw error;
    return undefined;
  }

  async *list(folder: string, signal?: AbortSignal): AsyncIterable<StoredObject> {
    let marker: string | undefined;
    do {
      const query: Record<string, string> = {
        restype: 'container',
        comp: 'list',
        prefix: `${this.#prefix}${folder}`,
        ...(marker === undefined ? {} : { marker }),
      };
      const call: StoreCall = { method: 'GET', query, ...(signal ? { signal } : {}) };
      const page = parseContainerListing((await this.#client.call(call)).body.toString('utf8'));
      for (const { key, bytes } of page.objects)
        yield { key: key.slice(this.#prefix.length), bytes };
      marker = page.next;
    } while (marker !== undefined);
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    const headers = { 'x-ms-delete-snapshots': 'include' };
    const more = signal === undefined ? {} : { signal };
    await this.#client.call({ method: 'DELETE', key, headers, accept: [404], ...more });
  }

  /** Closes idle connections; the store may still be used. */
  close(): void {
    this.#client.close();
  }
}
