import { Counter, Gauge, type Registry } from 'prom-client';

/** Why a chunk was copied. */
export type RepairReason = 'missing' | 'damaged' | 'stray';

/** What is still to be repaired on this peer. */
export interface RepairStatus {
  /** Partitions of which chunks are missing, or which are not yet compared with their old holders. */
  readonly behindPartitions: number;
  /** Chunks known to be missing or damaged; estimated before they are listed. */
  readonly missingChunks: number;
}

/** Metrics of repair. */
export class RepairMetrics {
  readonly copiedChunks: Counter<'reason'>;
  readonly copiedBytes: Counter<'reason'>;
  readonly droppedChunks: Counter;
  readonly failedCopies: Counter;

  constructor(registry: Registry, status: () => RepairStatus) {
    const registers = [registry];
    const labelNames = ['reason'] as const;
    this.copiedChunks = new Counter({
      name: 'holdfast_repair_chunks_total',
      help: 'Chunks copied because they were missing or damaged here, or strayed from their replicas',
      labelNames,
      registers,
    });
    this.copiedBytes = new Counter({
      name: 'holdfast_repair_bytes_total',
      help: 'Bytes of chunks copied, by reason',
      labelNames,
      registers,
    });
    this.droppedChunks = new Counter({
      name: 'holdfast_repair_dropped_chunks_total',
      help: 'Chunks deleted here because others hold their partition now',
      registers,
    });
    this.failedCopies = new Counter({
      name: 'holdfast_repair_failed_copies_total',
      help: 'Chunks that could not be copied from any peer; they are tried again',
      registers,
    });
    const gauge = (name: string, help: string, value: (status: RepairStatus) => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value(status()));
        },
      });
    };
    gauge(
      'holdfast_repair_behind_partitions',
      'Partitions that lack chunks or are not yet compared with their old holders',
      ({ behindPartitions }) => behindPartitions,
    );
    gauge(
      'holdfast_repair_missing_chunks',
      'Chunks known to be missing or damaged here',
      ({ missingChunks }) => missingChunks,
    );
  }
}

/** Metrics of the search for chunks whose commit never came. */
export class OrphanMetrics {
  readonly searches: Counter<'result'>;
  readonly freedChunks: Counter;
  readonly freedBytes: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.searches = new Counter({
      name: 'holdfast_orphan_searches_total',
      help: 'Searches of this peer for chunks whose write was given up, by result (done, failed)',
      labelNames: ['result'] as const,
      registers,
    });
    this.freedChunks = new Counter({
      name: 'holdfast_orphan_chunks_freed_total',
      help: 'Chunks that this peer found on its disk, known to no shard, and freed on all peers',
      registers,
    });
    this.freedBytes = new Counter({
      name: 'holdfast_orphan_bytes_freed_total',
      help: 'Bytes of those chunks, each counted once',
      registers,
    });
  }
}
