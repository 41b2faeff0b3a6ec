import { type ChunkId, HoldfastError } from '@holdfast/protocol';
import type { ChunkIndex, ChunkPlace, Grave, IndexChange } from './chunk-index.ts';
import type { PartitionDigests } from './digests.ts';
import { recordBytes } from './record.ts';
import { graveOf } from './recovery.ts';
import type { SegmentSpace } from './segment-space.ts';
import type { Appended } from './segment-writer.ts';

/** What {@link Ledger} keeps up to date. */
export interface LedgerParts {
  readonly index: ChunkIndex;
  readonly space: SegmentSpace;
  readonly digests: PartitionDigests;
  readonly damaged: Set<ChunkId>;
}

interface Known {
  readonly place: ChunkPlace | undefined;
  readonly grave: Grave | undefined;
}

/** Enters durable records: index, live and dead bytes, digests. */
export class Ledger {
  readonly #parts: LedgerParts;

  constructor(parts: LedgerParts) {
    this.#parts = parts;
  }

  /** Called with one batch (not empty) after the other, in the order in which they were written. */
  async enter(batch: readonly Appended[]): Promise<void> {
    const { index, digests } = this.#parts;
    const changes = new Map<ChunkId, IndexChange>();
    const here = new Set<ChunkId>();
    await index.enter(() => {
      // Read first: when that fails, nothing has been counted.
      const known = new Map(batch.map(({ append }) => this.#known(append.head.chunk)));
      for (const appended of batch) {
        const { chunk } = appended.append.head;
        const change = changes.get(chunk);
        const { place, grave } = change ?? known.get(chunk) ?? {};
        if (change === undefined && place !== undefined) here.add(chunk);
        this.#leave({ place, grave });
        changes.set(chunk, this.#arrive(appended, { place, grave }));
      }
      return { changes: [...changes.values()], ...endOf(batch) };
    });
    // Behind the index: who sees a digest must find all of it in the listing.
    for (const { chunk, place } of changes.values()) {
      if (place !== undefined && !here.has(chunk)) digests.added(chunk);
      if (place === undefined && here.has(chunk)) digests.removed(chunk);
    }
  }

  #known(chunk: ChunkId): [ChunkId, Known] {
    const { index } = this.#parts;
    return [chunk, { place: index.get(chunk), grave: index.grave(chunk) }];
  }

  /** What stood for the chunk until now does so no more. */
  #leave({ place, grave }: Known): void {
    const { space } = this.#parts;
    if (place !== undefined) space.died(place.segment, recordBytes(place.length));
    if (grave !== undefined && space.has(grave.victim)) space.died(grave.segment, recordBytes(0));
  }

  #arrive({ append, segment, offset }: Appended, before: Known): IndexChange {
    const { space, damaged } = this.#parts;
    const { kind, chunk, length, copies, blocks } = append.head;
    if (append.movedFrom === undefined) damaged.delete(chunk);
    if (kind === 'chunk') {
      space.lived(segment, recordBytes(length));
      return { chunk, place: { segment, offset, length, copies, blocks } };
    }
    const grave = graveOf(kind, segment, before.place, before.grave);
    // Counted as dead, a tombstone that is needed would have its segment rewritten for ever.
    if (space.has(grave.victim)) space.lived(segment, recordBytes(0));
    else space.dead(segment, recordBytes(0));
    return { chunk, grave };
  }
}

function endOf(batch: readonly Appended[]): { segment: number; end: number } {
  const last = batch.at(-1);
  if (last === undefined) throw new HoldfastError('INTERNAL', 'an empty batch was entered');
  return { segment: last.segment, end: last.offset + recordBytes(last.append.head.length) };
}
