import { type InodeOfShard, REGION_BYTES } from '@holdfast/metadata';
import type { Command, CommandResult } from '@holdfast/protocol';

/** One region of a file. */
export interface RegionOfFile {
  readonly file: InodeOfShard;
  readonly region: number;
}

/** Regions that are counted at a time; when there are more, counting begins anew. */
const REGIONS_COUNTED_MAX = 4_096;

/**
 * Counts small writes as they are applied, so that a region which gathers many is looked at at once
 * and not when its file has its turn: before it has so many pieces that writers are refused.
 */
export class Crowding {
  readonly #writesMax: number;
  readonly #onCrowding: () => void;
  readonly #counts = new Map<string, number>();
  readonly #crowding = new Map<string, RegionOfFile>();

  constructor(o: { readonly writesMax: number; readonly onCrowding: () => void }) {
    this.#writesMax = o.writesMax;
    this.#onCrowding = o.onCrowding;
  }

  /** Keeps up with what was applied. */
  applied({ operation, volume }: Command, result: CommandResult): void {
    if (operation.op !== 'write-extents') return;
    // Refused because of it already: a predecessor did not come round to it.
    const isTooLate = !result.ok && result.code === 'OVERLOADED' && !operation.append;
    if (!result.ok && !isTooLate) return;
    const { ino, extents, append } = operation;
    const base = result.ok && append ? (result.answer.offset ?? 0) : 0;
    for (const { offset, source } of extents) {
      if (source.kind !== 'inline') continue;
      const region = Math.floor((base + offset) / REGION_BYTES);
      this.#count({ file: { volume, ino }, region }, isTooLate ? this.#writesMax : 1);
    }
  }

  #count(what: RegionOfFile, writes: number): void {
    const key = `${what.file.volume}/${what.file.ino}/${what.region}`;
    const count = (this.#counts.get(key) ?? 0) + writes;
    if (count < this.#writesMax) {
      if (this.#counts.size >= REGIONS_COUNTED_MAX) this.#counts.clear();
      this.#counts.set(key, count);
      return;
    }
    this.#counts.delete(key);
    if (this.#crowding.has(key)) return;
    this.#crowding.set(key, what);
    this.#onCrowding();
  }

  /** The regions to look at now; they are counted from 0 again. */
  take(): RegionOfFile[] {
    const regions = [...this.#crowding.values()];
    this.#crowding.clear();
    return regions;
  }

  /** Forgets everything. */
  clear(): void {
    this.#counts.clear();
    this.#crowding.clear();
  }
}
