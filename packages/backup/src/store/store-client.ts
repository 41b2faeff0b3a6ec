/** Calls of an object store's HTTP interface: signed, tried again, refusals by their name. */
import { HoldfastError } from '@holdfast/protocol';
import { type HttpAnswer, HttpClient, type HttpOptions, type HttpRequest } from './http.ts';
import {
  RETRY_POLICY,
  type RetryPolicy,
  type RetrySurroundings,
  TransientError,
  withRetry,
} from './retry.ts';

/** How to connect to a store, and how patiently. */
export interface ConnectionOptions {
  /** PEM of the authority that signed the certificate of the endpoint. */
  readonly ca?: string;
  readonly lookup?: HttpOptions['lookup'];
  readonly retry?: RetryPolicy;
  readonly surroundings: RetrySurroundings & { readonly nowMs: () => number };
  /** Milliseconds without a byte in either direction after which a request is given up. */
  readonly idleMs?: number;
}

/** A call, not signed yet. */
export interface StoreCall {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  /** Of the object; absent: the bucket or container. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly sha256?: string;
  /** Answers other than 2xx that the caller understands. */
  readonly accept?: readonly number[];
  readonly signal?: AbortSignal;
}

/** What one kind of store has of its own. */
export interface StoreDialect {
  /** The request of a call, signed at this time (milliseconds since the epoch). */
  sign(call: StoreCall, nowMs: number): Promise<Omit<HttpRequest, 'body' | 'signal'>>;
  /** The code by which the store says why it refuses. */
  reasonOf(answer: HttpAnswer): string;
  /** Whether another attempt may succeed where this one was refused. */
  isTransient(status: number, reason: string): boolean;
  /** Code of a refusal that may be for the time of the request. */
  readonly clockReason: string;
}

const IDLE_MS = 30_000;
const CONNECTIONS_MAX = 16;
/** A clock is learned anew when it is off by this much. */
const SKEW_MS_MIN = 60_000;

/** Sends the calls of one store. */
export class StoreClient {
  readonly #options: ConnectionOptions;
  readonly #dialect: StoreDialect;
  readonly #http: HttpClient;
  /** What the store's clock is ahead of ours, once a request was refused for it. */
  #skewMs = 0;

  constructor(dialect: StoreDialect, options: ConnectionOptions) {
    this.#dialect = dialect;
    this.#options = options;
    this.#http = new HttpClient({
      idleMs: options.idleMs ?? IDLE_MS,
      connectionsMax: CONNECTIONS_MAX,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    });
  }

  /** Answers 2xx and what the call accepts; `onAttempt` is told of each attempt. */
  call(call: StoreCall, onAttempt: () => void = () => {}): Promise<HttpAnswer> {
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

  /** What an answer that is no success means. */
  refusal(answer: HttpAnswer, key: string): HoldfastError {
    const { status } = answer;
    const reason = this.#dialect.reasonOf(answer);
    const options = { detail: { key, status, reason } };
    const why = reason === '' ? status : `${status} ${reason}`;
    const text = `the object store answers ${why} for ${key || 'its root'}`;
    if (status === 404) return new HoldfastError('NOT_FOUND', text, options);
    if (status === 401 || status === 403) return new HoldfastError('FORBIDDEN', text, options);
    if (status === 416) return new HoldfastError('CORRUPT', text, options);
    if (status === 507) return new HoldfastError('ENOSPC', text, options);
    return new HoldfastError('UNREACHABLE', text, options);
  }

  /** Closes idle connections; the client may still be used. */
  close(): void {
    this.#http.close();
  }

  async #attempt(call: StoreCall): Promise<HttpAnswer> {
    let answer: HttpAnswer;
    try {
      answer = await this.#send(call);
    } catch (error) {
      const isOutage = error instanceof HoldfastError && error.code === 'UNREACHABLE';
      throw isOutage ? new TransientError('no answer', { cause: error }) : error;
    }
    const { status } = answer;
    if (status < 300 || call.accept?.includes(status)) return answer;
    const error = this.refusal(answer, call.key ?? '');
    const isTransient = this.#dialect.isTransient(status, this.#dialect.reasonOf(answer));
    if (!isTransient && !this.#learnClock(answer)) throw error;
    throw new TransientError('refused for now', { cause: error });
  }

  async #send(call: StoreCall): Promise<HttpAnswer> {
    const { body, signal } = call;
    const nowMs = this.#options.surroundings.nowMs() + this.#skewMs;
    return this.#http.send({
      ...(await this.#dialect.sign(call, nowMs)),
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /**
   * A request refused for its time is signed anew by the store's clock, once it is known. The answer to
   * a HEAD says no reason: a clock that differs is taken for one.
   */
  #learnClock(answer: HttpAnswer): boolean {
    const reason = this.#dialect.reasonOf(answer);
    const isOfClock = reason === '' || reason === this.#dialect.clockReason;
    if (answer.status !== 403 || !isOfClock) return false;
    const theirs = Date.parse(String(answer.headers['date']));
    if (Number.isNaN(theirs)) return false;
    const before = this.#skewMs;
    this.#skewMs = theirs - this.#options.surroundings.nowMs();
    return Math.abs(before - this.#skewMs) > SKEW_MS_MIN;
  }
}

/** The base of a store's addresses: BAD_CONFIG when the endpoint is no URL. */
export function endpointUrl(endpoint: string): URL {
  const url = URL.parse(endpoint);
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw new HoldfastError('BAD_CONFIG', `the endpoint of the store is no URL: ${endpoint}`);
}

/** What a signature must spell exactly as the store does is kept to what all spell alike. BAD_CONFIG. */
export function checkPrefix(prefix: string): string {
  if (/^[\w.~/-]*$/.test(prefix)) return prefix === '' ? '' : `${prefix}/`;
  throw new HoldfastError('BAD_CONFIG', `${prefix}: a prefix has letters, digits, . _ ~ - and /`);
}

/** The bytes of a range out of an answer. CORRUPT when the object ends before. */
export function bytesOfRange(
  { status, body }: HttpAnswer,
  range: { readonly offset: number; readonly length: number },
  key: string,
): Uint8Array {
  // A store that knows no ranges sends everything.
  const end = range.offset + range.length;
  const part = status === 206 ? body : body.subarray(range.offset, end);
  if (part.length === range.length) return part;
  throw new HoldfastError('CORRUPT', `${key} ends before its range`, { detail: { key } });
}
