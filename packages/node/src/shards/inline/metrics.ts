import type { ShardId } from '@holdfast/protocol';
import { Counter, Gauge, type Registry } from 'prom-client';

/** Metrics of moving inline bytes into chunks. */
export class InlineMetrics {
  readonly movedBytes: Counter<'shard'>;
  readonly chunks: Counter<'shard'>;
  readonly commands: Counter<'shard' | 'result'>;
  readonly failures: Counter<'shard'>;
  readonly inlineBytes: Gauge<'shard'>;

  constructor(registry: Registry) {
    const registers = [registry];
    const labelNames = ['shard'] as const;
    const counter = (name: string, help: string) =>
      new Counter({ name, help, labelNames, registers });
    this.movedBytes = counter(
      'holdfast_inline_moved_bytes_total',
      'Bytes of small writes moved from metadata into chunks',
    );
    this.chunks = counter('holdfast_inline_chunks_total', 'Chunks written for small writes');
    this.failures = counter(
      'holdfast_inline_failed_rounds_total',
      'Rounds of moving small writes into chunks that an outage ended; they are tried again',
    );
    this.commands = new Counter({
      name: 'holdfast_inline_moves_total',
      help: 'Commands that moved parts of files into chunks, by result; refused: the file was gone',
      labelNames: ['shard', 'result'] as const,
      registers,
    });
    this.inlineBytes = new Gauge({
      name: 'holdfast_inline_bytes',
      help: 'Bytes of small writes in the metadata of a shard, as its leader last counted them',
      labelNames,
      registers,
    });
  }

  /** This peer does not lead the shard any more: another one counts. */
  resigned(shard: ShardId): void {
    this.inlineBytes.remove({ shard });
  }
}
