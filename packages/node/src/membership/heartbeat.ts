/** This peer's signs of life to the leader of the system shard, and the news it gets for them. */
import { HoldfastError, type NodeNumber, SYSTEM_SHARD } from '@holdfast/protocol';
import {
  type HeartbeatAnswer,
  type HeartbeatRequest,
  type MapAnswer,
  RPC,
} from '../rpc/messages.ts';
import type { Peers } from '../rpc/peers.ts';
import type { Log } from '../telemetry/log.ts';
import { pause } from '../waiting.ts';
import type { MapCache } from './map-cache.ts';
import type { Registry } from './registry.ts';

/** Milliseconds between signs of life, at most a quarter of the silence that counts as death; and for one to be answered. */
const INTERVAL_MS_MAX = 1_000;
const ANSWER_MS_MAX = 2_000;
/** Signs of life in a row that must fail before other peers are looked for. */
const FAILURES_BEFORE_SEARCH = 3;

/** Refused signs of life for each line in the log. */
const REFUSALS_PER_LINE = 60;

/** What {@link Heartbeat} works with. */
export interface HeartbeatOptions {
  readonly self: NodeNumber;
  readonly registry: Pick<Registry, 'isLeader' | 'leader'>;
  readonly peers: { to(node: NodeNumber): Pick<ReturnType<Peers['to']>, 'call'> };
  readonly map: Pick<MapCache, 'current' | 'offer'>;
  readonly downAfterMs: number;
  readonly facts: () => HeartbeatRequest;
  /** A sign of this peer to itself, when it leads. */
  readonly heardHere: (sign: HeartbeatRequest) => Promise<void>;
  /** Nobody answers at the addresses known. */
  readonly search: () => Promise<void>;
  readonly log: Log;
}

/** Sends a sign of life every second until closed. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #failures = 0;
  #hint: NodeNumber | 0 = 0;
  #attempt = 0;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Whether a leader has answered of late. */
  get isHeard(): boolean {
    return this.#failures === 0;
  }

  start(): void {
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const intervalMs = Math.min(INTERVAL_MS_MAX, this.#options.downAfterMs / 4);
    while (!signal.aborted) {
      await this.#beat();
      await pause(this.#hint === 0 || this.#failures === 0 ? intervalMs : 50, signal);
    }
  }

  async #beat(): Promise<void> {
    const { registry, map, self } = this.#options;
    const leader = this.#leader();
    try {
      if (registry.isLeader) await this.#options.heardHere(this.#options.facts());
      // It led, or is about to: nobody was told.
      else if (leader === self) throw new HoldfastError('NOT_LEADER');
      else if (leader !== undefined) await this.#tell(leader);
      this.#failures = 0;
    } catch (error) {
      this.#failed(error, leader);
    }
    if (
      this.#failures >= FAILURES_BEFORE_SEARCH &&
      this.#failures % FAILURES_BEFORE_SEARCH === 0 &&
      map.current !== undefined
    ) {
      await this.#options
        .search()
        .catch((error: unknown) => this.#options.log.debug({ event: 'discovery.failed', error }));
    }
  }

  async #tell(leader: NodeNumber): Promise<void> {
    const { peers, map, facts } = this.#options;
    const client = peers.to(leader);
    const { epoch } = await client.call<HeartbeatAnswer>(RPC.heartbeat, facts(), {
      deadlineMs: ANSWER_MS_MAX,
    });
    const sinceEpoch = map.current?.epoch ?? 0;
    if (epoch <= sinceEpoch) return;
    const answer = await client.call<MapAnswer>(
      RPC.map,
      { sinceEpoch },
      { deadlineMs: ANSWER_MS_MAX },
    );
    if (answer.map !== undefined) map.offer(answer.map);
  }

  /** Who leads, as far as known; else the members of the system shard in turn. */
  #leader(): NodeNumber | undefined {
    const { registry, map, self } = this.#options;
    if (this.#hint !== 0) return this.#hint;
    if (registry.leader !== 0) return registry.leader;
    const members =
      map.current?.shards.find((shard) => shard.shard === SYSTEM_SHARD)?.members ?? [];
    const others = members.filter((member) => member !== self);
    return others[this.#attempt++ % Math.max(1, others.length)];
  }

  #failed(error: unknown, leader: NodeNumber | undefined): void {
    this.#failures += 1;
    const hint = error instanceof HoldfastError ? Number(error.detail['leader'] ?? 0) : 0;
    // That this peer leads it knows best itself.
    this.#hint = hint === leader || hint === this.#options.self ? 0 : (hint as NodeNumber);
    const isRefused = error instanceof HoldfastError && error.kind === 'refusal';
    const fields = { event: 'heartbeat.failed', leader, failures: this.#failures, error };
    // A refusal will not change by itself: said at once, then once a minute.
    if (isRefused && this.#failures % REFUSALS_PER_LINE === 1) this.#options.log.error(fields);
    else if (this.#failures === FAILURES_BEFORE_SEARCH) this.#options.log.warn(fields);
    else this.#options.log.debug(fields);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}
