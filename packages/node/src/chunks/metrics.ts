import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Where the gauges come from. */
export interface ChunkFigures {
  readonly storedChunks: () => number;
  readonly liveBytes: () => number;
  readonly deadBytes: () => number;
  readonly damagedChunks: () => number;
  readonly pendingBytes: () => number;
}

/** Metrics of the chunk store of a peer. */
export class ChunkMetrics {
  readonly flushSeconds: Histogram;
  readonly writtenBytes: Counter;
  readonly readBytes: Counter;
  readonly corruptBlocks: Counter;

  /** `source`: asked at each scrape. */
  constructor(registry: Registry, source: ChunkFigures) {
    const registers = [registry];
    this.flushSeconds = new Histogram({
      name: 'holdfast_chunks_flush_seconds',
      help: 'Time of one group commit: write and fdatasync',
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2],
      registers,
    });
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
    this.writtenBytes = counter(
      'holdfast_chunks_written_bytes_total',
      'Bytes of chunks made durable',
    );
    this.readBytes = counter(
      'holdfast_chunks_read_bytes_total',
      'Bytes of chunks read and verified',
    );
    this.corruptBlocks = counter(
      'holdfast_chunks_corrupt_total',
      'Reads and records that failed their checksum',
    );
    const gauge = (name: string, help: string, value: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    };
    gauge('holdfast_chunks_stored', 'Chunks that are here', source.storedChunks);
    gauge('holdfast_chunks_live_bytes', 'Bytes of records in use', source.liveBytes);
    gauge('holdfast_chunks_dead_bytes', 'Bytes of records not in use any more', source.deadBytes);
    gauge('holdfast_chunks_damaged', 'Chunks whose copy here is bad', source.damagedChunks);
    gauge(
      'holdfast_chunks_pending_bytes',
      'Bytes of writes that wait for the disk or are being written',
      source.pendingBytes,
    );
  }
}
