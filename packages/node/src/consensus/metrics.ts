/** Metrics of consensus and of the shards, all declared here. */
import type { ShardId } from '@holdfast/protocol';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ConsensusObserver } from './driver.ts';
import type { WalOptions } from './wal.ts';

/** What gauges ask at each scrape. */
export interface ConsensusGauges {
  readonly wal: { readonly segmentCount: number; readonly isFull: boolean };
  /** Shards with a replica here, and how many proposals of each are in flight. */
  readonly proposals: () => Iterable<readonly [ShardId, number]>;
  /** Volume shards with a replica here, and how many sessions each keeps as their leader. */
  readonly sessions: () => Iterable<readonly [ShardId, number]>;
}

const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30];

/** Counts what the driver and the log report. */
export class ConsensusMetrics implements ConsensusObserver {
  readonly #registry: Registry;
  readonly #propose: Histogram<'shard'>;
  readonly #apply: Histogram<'shard'>;
  readonly #read: Histogram<'shard'>;
  readonly #entries: Counter<'shard'>;
  readonly #flush: Histogram;
  readonly #flushedBytes: Counter;
  readonly #flushedRecords: Counter;

  constructor(registry: Registry) {
    this.#registry = registry;
    const perShard = (name: string, help: string) =>
      new Histogram({
        name,
        help,
        labelNames: ['shard'] as const,
        buckets: SECONDS,
        registers: [registry],
      });
    this.#propose = perShard(
      'holdfast_raft_propose_seconds',
      'From a proposal on the leader until its entry was committed and applied there',
    );
    this.#apply = perShard(
      'holdfast_raft_apply_seconds',
      'Time to apply the entries committed together',
    );
    this.#read = perShard(
      'holdfast_raft_read_barrier_seconds',
      'Until a read could be answered as of its call',
    );
    this.#entries = new Counter({
      name: 'holdfast_raft_applied_entries_total',
      help: 'Log entries applied',
      labelNames: ['shard'] as const,
      registers: [registry],
    });
    this.#flush = new Histogram({
      name: 'holdfast_wal_flush_seconds',
      help: 'Time of one write and flush of the write-ahead log',
      buckets: SECONDS,
      registers: [registry],
    });
    this.#flushedBytes = new Counter({
      name: 'holdfast_wal_flushed_bytes_total',
      help: 'Bytes of records flushed to the write-ahead log',
      registers: [registry],
    });
    this.#flushedRecords = new Counter({
      name: 'holdfast_wal_flushed_records_total',
      help: 'Records flushed to the write-ahead log; over the count of flushes: records of one group commit',
      registers: [registry],
    });
  }

  proposed(shard: ShardId, seconds: number): void {
    this.#propose.observe({ shard }, seconds);
  }

  applied(shard: ShardId, entries: number, seconds: number): void {
    this.#apply.observe({ shard }, seconds);
    this.#entries.inc({ shard }, entries);
  }

  readBarrier(shard: ShardId, seconds: number): void {
    this.#read.observe({ shard }, seconds);
  }

  /** For {@link WalOptions}. */
  readonly onFlush: NonNullable<WalOptions['onFlush']> = ({ records, bytes, seconds }) => {
    this.#flush.observe(seconds);
    this.#flushedBytes.inc(bytes);
    this.#flushedRecords.inc(records);
  };

  /** Adds the gauges, once log and driver exist. */
  observe({ wal, proposals, sessions }: ConsensusGauges): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'holdfast_wal_segments',
      help: 'Segment files of the write-ahead log',
      registers,
      collect() {
        this.set(wal.segmentCount);
      },
    });
    new Gauge({
      name: 'holdfast_wal_full',
      help: '1 while the disk has no room for another segment and proposals are refused',
      registers,
      collect() {
        this.set(wal.isFull ? 1 : 0);
      },
    });
    const perShard = (
      name: string,
      help: string,
      values: () => Iterable<readonly [ShardId, number]>,
    ) =>
      new Gauge({
        name,
        help,
        labelNames: ['shard'] as const,
        registers,
        collect() {
          this.reset();
          for (const [shard, value] of values()) this.set({ shard }, value);
        },
      });
    perShard('holdfast_raft_proposals_in_flight', 'Proposals that wait to be committed', proposals);
    perShard(
      'holdfast_session_leases',
      'Sessions with a lease from this peer, the leader of the shard',
      sessions,
    );
  }
}
