/** Keeps this peer's chunks as the map wants them: whole, sound, and nothing that others hold now. */
import {
  type ClusterMap,
  type NodeNumber,
  type NodeRecord,
  type PartitionId,
  partitionOf,
} from '@holdfast/protocol';
import type { Registry } from 'prom-client';
import type { ChunkStore } from '../chunks/store.ts';
import type { Log } from '../telemetry/log.ts';
import { pause } from '../waiting.ts';
import { forEachOf } from './budget.ts';
import { CatchUp } from './catch-up.ts';
import { Comparison, type Difference } from './comparison.ts';
import { HandOver } from './hand-over.ts';
import { type Holdings, holdingsOf, isNamed, mostEndangeredFirst } from './holdings.ts';
import { REPAIR_DEFAULTS, REPAIR_LIMITS, type RepairLimits } from './limits.ts';
import { RepairMetrics, type RepairStatus } from './metrics.ts';
import { PeerDigests } from './peer-digests.ts';
import type { PeerCall } from './peers.ts';
import { type Settled, Settlement } from './settlement.ts';
import { codeOf, Transfer } from './transfer.ts';

/** What {@link Repair} works with. */
export interface RepairOptions {
  readonly self: NodeNumber;
  readonly store: ChunkStore;
  /** The newest map; undefined before there is one. */
  readonly map: () => ClusterMap | undefined;
  readonly call: PeerCall;
  /** Tells the registry that this peer holds all of these partitions ('partitions-synced'). */
  readonly report: (settled: Settled) => Promise<unknown>;
  readonly registry: Registry;
  readonly log: Log;
  readonly limits?: Partial<RepairLimits>;
}

/** Rounds of comparing and copying, until closed. */
export class Repair {
  readonly #options: RepairOptions;
  readonly #limits: RepairLimits;
  readonly #stop = new AbortController();
  readonly #peers: PeerDigests;
  readonly #settlement = new Settlement();
  readonly #comparison: Comparison;
  readonly #transfer: Transfer;
  readonly #catchUp: CatchUp;
  readonly #handOver: HandOver;
  /** Differences that outlived a second look: `partition/peer`. */
  #confirmed = new Set<string>();
  #holdings: Holdings | undefined;
  #running: Promise<void> = Promise.resolve();
  #reporting: Promise<void> | undefined;
  #wake = new AbortController();
  #sliceEndMs = 0;

  constructor(options: RepairOptions) {
    this.#options = options;
    this.#limits = { ...REPAIR_DEFAULTS, ...options.limits };
    const { store, call, log, self, map } = options;
    const limits = this.#limits;
    const { signal } = this.#stop;
    const metrics = new RepairMetrics(options.registry, () => this.status());
    const peers = new PeerDigests(call);
    const transfer = new Transfer({ store, call, peers, metrics, limits, signal });
    const comparison = new Comparison((partition) => store.digests.of(partition), this.#settlement);
    this.#peers = peers;
    this.#transfer = transfer;
    this.#comparison = comparison;
    this.#catchUp = new CatchUp({ store, call, peers, comparison, transfer, log, signal });
    this.#handOver = new HandOver({
      self,
      map,
      store,
      call,
      peers,
      transfer,
      metrics,
      log,
      signal,
    });
  }

  /** Begins the rounds. */
  start(): void {
    this.#running = this.#run();
  }

  /** There is a newer map. */
  mapChanged(map: ClusterMap): void {
    const before = new Map(this.#holdings?.map.nodes.map(({ number, state }) => [number, state]));
    for (const { number, state } of map.nodes) {
      if (state === 'up' && before.get(number) !== 'up') this.#peers.retry(number);
    }
    this.wake();
  }

  /** The next round begins soon: a chunk was found damaged, for instance. */
  wake(): void {
    this.#wake.abort();
  }

  /** What is still to be repaired, as far as it is known. */
  status(): RepairStatus {
    const behind = new Set(this.#catchUp.behind);
    for (const holding of this.#holdings?.held.values() ?? []) {
      if (this.#settlement.isOpen(holding)) behind.add(holding.partition);
    }
    return {
      behindPartitions: behind.size,
      missingChunks: this.#catchUp.missingChunks + this.#options.store.damaged.size,
    };
  }

  /** Ends after what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.wake();
    await this.#running;
    await this.#reporting;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      // A map that comes from here on is of the next round.
      this.#wake = new AbortController();
      const restMs = await this.#roundOrRest();
      const { gapMs } = REPAIR_LIMITS;
      await pause(Math.min(restMs, gapMs), signal);
      if (restMs > gapMs) await pause(restMs - gapMs, AbortSignal.any([signal, this.#wake.signal]));
    }
  }

  /** Answers the milliseconds to rest. */
  async #roundOrRest(): Promise<number> {
    const { log } = this.#options;
    try {
      return await this.#round();
    } catch (error) {
      if (this.#stop.signal.aborted) return 0;
      const code = codeOf(error);
      // A full or broken disk needs its operator; repair goes on when there is room again.
      const isDisk = code === 'ENOSPC' || code === 'DISK_FAILED';
      log[isDisk ? 'warn' : 'error']({ event: 'repair.failed', error });
      return isDisk ? REPAIR_LIMITS.fullMs : this.#limits.intervalMs;
    }
  }

  async #round(): Promise<number> {
    const map = this.#options.map();
    if (map === undefined) return this.#limits.intervalMs;
    const holdings = this.#holdingsOf(map);
    const strays = this.#handOver.strays(holdings);
    const peers = new Set(holdings.shared.keys());
    for (const partition of strays) {
      for (const replica of map.partitions[partition]?.replicas ?? []) peers.add(replica);
    }
    await this.#peers.ask(peers, this.#stop.signal);
    const differences = await this.#differences(holdings, peers);
    this.#sliceEndMs = performance.now() + this.#limits.sliceMs;
    const failures: unknown[] = [];
    const fail = (error: unknown): void => void failures.push(error);
    await this.#healDamaged(holdings).catch(fail);
    await this.#copyMissing(holdings, differences).catch(fail);
    this.#reportSettled(holdings);
    // A full store gets room from what others hold now.
    await this.#dropStrays(strays, map).catch(fail);
    if (failures.length > 0) throw failures[0];
    return this.#restAfter(map, peers);
  }

  #restAfter(map: ClusterMap, peers: ReadonlySet<NodeNumber>): number {
    if (this.#isOver()) return 0;
    const { intervalMs } = this.#limits;
    const isLate = ({ number, state }: NodeRecord): boolean =>
      peers.has(number) &&
      state === 'up' &&
      (!this.#peers.hasAnswered(number) || this.#peers.epochOf(number) < map.epoch);
    return map.nodes.some(isLate) ? Math.min(intervalMs, REPAIR_LIMITS.soonMs) : intervalMs;
  }

  #isOver(): boolean {
    return this.#stop.signal.aborted || performance.now() >= this.#sliceEndMs;
  }

  #holdingsOf(map: ClusterMap): Holdings {
    if (this.#holdings?.map !== map) {
      this.#holdings = holdingsOf(map, this.#options.self);
      this.#peers.keep(new Set(map.nodes.map(({ number }) => number)));
    }
    return this.#holdings;
  }

  /** What differs, and still did after a moment if it is new: what is being written comes by itself. */
  async #differences(holdings: Holdings, peers: ReadonlySet<NodeNumber>): Promise<Difference[]> {
    let found = this.#comparison.differences(holdings, this.#peers);
    const fresh = keysOf(found.values()).filter((key) => !this.#confirmed.has(key));
    if (fresh.length > 0) {
      await pause(this.#limits.confirmMs, this.#stop.signal);
      await this.#peers.ask(peers, this.#stop.signal);
      found = this.#comparison.differences(holdings, this.#peers);
    }
    this.#confirmed = new Set(keysOf(found.values()));
    this.#catchUp.expect(found, holdings);
    return mostEndangeredFirst(holdings, found.keys()).flatMap((key) => found.get(key) ?? []);
  }

  async #copyMissing(holdings: Holdings, differences: readonly Difference[]): Promise<void> {
    const isOver = (): boolean => this.#isOver();
    await forEachOf(
      differences,
      REPAIR_LIMITS.partitionsInFlight,
      async (difference) => {
        const present = this.#options.map();
        const { partition } = difference.holding;
        // Moved away since: what is not to be here need not come.
        if (present === undefined || !isNamed(present, partition, this.#options.self)) return;
        await this.#catchUp.run(difference, holdings, isOver);
      },
      isOver,
    );
  }

  async #dropStrays(strays: readonly PartitionId[], map: ClusterMap): Promise<void> {
    const isOver = (): boolean => this.#isOver();
    await forEachOf(
      strays,
      REPAIR_LIMITS.partitionsInFlight,
      (partition) => this.#handOver.run(partition, map, isOver),
      isOver,
    );
  }

  /** Writes damaged chunks anew from good copies. */
  async #healDamaged({ held }: Holdings): Promise<void> {
    const { store, log } = this.#options;
    await forEachOf(
      [...store.damaged],
      this.#limits.chunksInFlight,
      async (chunk) => {
        const length = store.length(chunk);
        const holding = held.get(partitionOf(chunk));
        // Deleted since, or not to be kept here.
        if (length === undefined || holding === undefined) return;
        const outcome = await this.#transfer.fetch({ chunk, length }, holding.others, 'damaged');
        if (outcome === 'stored') log.warn({ event: 'chunk.healed', chunk, length });
      },
      () => this.#isOver(),
    );
  }

  /** In the background: while the registry has no leader, copying goes on. */
  #reportSettled(holdings: Holdings): void {
    if (this.#reporting !== undefined) return;
    const due = this.#settlement
      .due(holdings, performance.now())
      .flatMap(({ epoch, partitions }) =>
        inParts(partitions).map((part) => ({ epoch, partitions: part })),
      );
    if (due.length === 0) return;
    this.#reporting = this.#report(due).finally(() => {
      this.#reporting = undefined;
    });
  }

  async #report(due: readonly Settled[]): Promise<void> {
    const { report, log } = this.#options;
    for (const settled of due) {
      try {
        await report(settled);
        this.#settlement.reported(settled, performance.now());
        log.info({
          event: 'repair.settled',
          epoch: settled.epoch,
          partitions: settled.partitions.length,
        });
      } catch (error) {
        log.debug({ event: 'repair.unreported', error });
        return;
      }
    }
  }
}

function keysOf(differences: Iterable<Difference>): string[] {
  return [...differences].flatMap(({ holding, peers }) =>
    peers.map((peer) => `${holding.partition}/${peer}`),
  );
}

function inParts<T>(items: readonly T[]): T[][] {
  const { reportCount } = REPAIR_LIMITS;
  return Array.from({ length: Math.ceil(items.length / reportCount) }, (_, part) =>
    items.slice(part * reportCount, (part + 1) * reportCount),
  );
}
