import { type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { HoldfastError } from '@holdfast/protocol';
import { z } from 'zod';
import { withDeadline } from '../waiting.ts';
import type { DriverLog } from './log.ts';

/** Milliseconds for one answer of the engine; while it looks for plugins it may be slow. */
const ANSWER_MS = 60_000;

/** Milliseconds between attempts to reach an engine that is not there. */
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 2_000;

/** Bytes of an answer; a host with ten thousand containers stays below. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

const containersSchema = z.array(
  z.object({
    Id: z.string(),
    Mounts: z
      .array(
        z.object({ Type: z.string(), Name: z.string().optional(), Driver: z.string().optional() }),
      )
      .nullish(),
  }),
);
const infoSchema = z.object({ LiveRestoreEnabled: z.boolean().optional() });

/** What the reconciliation wants to know from the engine. */
export interface EngineView {
  /** True: containers outlive their engine. Never together with Swarm. */
  readonly hasLiveRestore: boolean;
  /** Volumes of this driver in containers that run or are paused. */
  readonly volumesInUse: ReadonlySet<string>;
}

/** The Docker Engine of this host, through its own API socket. */
export class EngineClient {
  readonly #socketPath: string;
  readonly #driverName: string;

  constructor(socketPath: string, driverName: string) {
    this.#socketPath = socketPath;
    this.#driverName = driverName;
  }

  /** Makes the engine look for its volume drivers: Swarm's scheduler knows only those it has used. */
  async discoverDrivers(): Promise<void> {
    await this.#get('/volumes');
  }

  /** UNREACHABLE or DEADLINE when no engine answers. */
  async view(): Promise<EngineView> {
    const filters = JSON.stringify({ status: ['running', 'paused', 'restarting'] });
    const list = `/containers/json?filters=${encodeURIComponent(filters)}`;
    const [info, containers] = await Promise.all([
      this.#get('/info').then((answer) => infoSchema.parse(answer)),
      this.#get(list).then((answer) => containersSchema.parse(answer)),
    ]);
    const mounts = containers.flatMap((container) => container.Mounts ?? []);
    const own = mounts.filter(({ Driver }) => Driver === this.#driverName);
    return {
      hasLiveRestore: info.LiveRestoreEnabled ?? false,
      volumesInUse: new Set(own.flatMap(({ Name }) => (Name === undefined ? [] : [Name]))),
    };
  }

  /**
   * Resolves when the engine that answers now has gone: holds its event stream open, with a filter
   * that lets nothing frequent through. Throws UNREACHABLE when there is none.
   */
  async untilGone(signal: AbortSignal): Promise<void> {
    const filters = JSON.stringify({ type: ['daemon'] });
    const response = await this.#open(`/events?filters=${encodeURIComponent(filters)}`, signal);
    response.resume();
    await new Promise<void>((resolve) => {
      response.once('close', () => resolve());
    });
  }

  async #get(path: string): Promise<unknown> {
    return withDeadline(`the engine at ${this.#socketPath}`, ANSWER_MS, async (signal) => {
      const response = await this.#open(path, signal);
      const parts: Buffer[] = [];
      let bytes = 0;
      for await (const part of response as AsyncIterable<Buffer>) {
        bytes += part.length;
        if (bytes > ANSWER_BYTES_MAX) throw new HoldfastError('OVERLOADED', `${path} is too long`);
        parts.push(part);
      }
      return JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown;
    });
  }

  #open(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const refuse = (reason: string, cause?: unknown): void => {
        const message = `the engine at ${this.#socketPath} does not answer: ${reason}`;
        reject(new HoldfastError('UNREACHABLE', message, { cause }));
      };
      const options = { socketPath: this.#socketPath, path, signal, headers: { host: 'docker' } };
      const asked = request(options, (response) => {
        if (response.statusCode === 200) return resolve(response);
        response.resume();
        refuse(`status ${response.statusCode}`);
      });
      asked.once('error', (cause) => refuse(cause.message, cause));
      asked.end();
    });
  }
}

/**
 * Until `signal` fires: introduces the driver to every engine that comes up on this host, one after
 * the other. Needed because an engine without a volume of this driver does not look for it by itself,
 * and its Swarm then places no task that wants one on this host.
 */
export async function introduceToEngines(
  engine: EngineClient,
  log: DriverLog,
  signal: AbortSignal,
): Promise<void> {
  let waitMs = RETRY_MS;
  while (!signal.aborted) {
    try {
      await engine.discoverDrivers();
      log.info({ event: 'engine.introduced' });
      waitMs = RETRY_MS;
      await engine.untilGone(signal);
    } catch (error) {
      // An engine is started by others and may never come: retried for ever, at a bounded pace.
      log.debug({ event: 'engine.absent', reason: String(error) });
    }
    await delay(waitMs, undefined, { signal }).catch(() => {});
    waitMs = Math.min(2 * waitMs, RETRY_MS_MAX);
  }
}
