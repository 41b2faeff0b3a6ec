/** One HTTP request with everything bounded; the body of the answer in memory. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { HoldfastError } from '@holdfast/protocol';

/** A request that is ready to be sent. */
export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal;
}

/** An answer that arrived whole. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** How to connect. */
export interface HttpOptions {
  /** PEM of further authorities to trust; the system's own are then not asked. */
  readonly ca?: string;
  /** Resolves names in place of the system. */
  readonly lookup?: LookupFunction;
  /** Milliseconds without a byte in either direction. */
  readonly idleMs: number;
  readonly connectionsMax: number;
}

/** Bytes of an answer: a pack of 16 MiB and a blob, several times over. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;

/** Keeps connections for the requests of one store. */
export class HttpClient {
  readonly #options: HttpOptions;
  readonly #agents: readonly [HttpAgent, HttpsAgent];

  constructor(options: HttpOptions) {
    this.#options = options;
    const shared = { keepAlive: true, maxSockets: options.connectionsMax };
    const lookup = options.lookup === undefined ? {} : { lookup: options.lookup };
    const ca = options.ca === undefined ? {} : { ca: options.ca };
    this.#agents = [
      new HttpAgent({ ...shared, ...lookup }),
      new HttpsAgent({ ...shared, ...lookup, ...ca }),
    ];
  }

  /** Sends; UNREACHABLE when no whole answer comes back. Never retries. */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    try {
      return await this.#send(request);
    } catch (cause) {
      request.signal?.throwIfAborted();
      if (cause instanceof HoldfastError) throw cause;
      const { host } = request.url;
      throw new HoldfastError('UNREACHABLE', `no answer from ${host}: ${String(cause)}`, {
        cause,
        detail: { store: host },
      });
    }
  }

  /** Closes idle connections. */
  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }

  #send({ method, url, headers, body, signal }: HttpRequest): Promise<HttpAnswer> {
    const isSecure = url.protocol === 'https:';
    const options = {
      method,
      headers: { ...headers, 'content-length': String(body?.length ?? 0) },
      agent: this.#agents[isSecure ? 1 : 0],
      timeout: this.#options.idleMs,
      ...(signal === undefined ? {} : { signal }),
    };
    return new Promise((resolve, reject) => {
      const request = (isSecure ? httpsRequest : httpRequest)(url, options, (answer) => {
        collect(answer).then(resolve, (error: unknown) => {
          request.destroy();
          reject(error);
        });
      });
      request.on('timeout', () => request.destroy(new Error('timed out')));
      request.on('error', reject);
      request.end(body);
    });
  }
}

async function collect(answer: IncomingMessage): Promise<HttpAnswer> {
  const parts: Buffer[] = [];
  let length = 0;
  // A body that is cut off makes this loop throw: node checks it against its length.
  for await (const part of answer as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > ANSWER_BYTES_MAX)
      throw new HoldfastError('CORRUPT', `an answer is longer than ${ANSWER_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) };
}
