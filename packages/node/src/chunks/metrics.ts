import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Metrics of the chunk store of a peer. */
export class ChunkMetrics {
  readonly flushSeconds: Histogram;
  readonly writtenBytes: Counter;
  readonly readBytes: Counter;
  readonly corruptBlocks: Counter;
  readonly liveBytes: Gauge;
  readonly deadBytes: Gauge;
  readonly damagedChunks: Gauge;

  constructor(registers: Registry[]) {
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
    const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
    this.liveBytes = gauge('holdfast_chunks_live_bytes', 'Bytes of records in use');
    this.deadBytes = gauge('holdfast_chunks_dead_bytes', 'Bytes of records not in use any more');
    this.damagedChunks = gauge('holdfast_chunks_damaged', 'Chunks whose copy here is bad');
  }
}
