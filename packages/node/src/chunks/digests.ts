import { type ChunkId, PARTITION_COUNT, type PartitionId, partitionOf } from '@holdfast/protocol';

/** What a partition holds, in few bytes: equal sets of chunks have equal digests. */
export interface Digest {
  readonly count: number;
  /** XOR of the hashes of the ids: 64 bits in two unsigned halves. */
  readonly high: number;
  readonly low: number;
}

/** A digest as it travels: partition, count, high, low. */
export type DigestRow = readonly [PartitionId, number, number, number];

const HALVES = 2;

/**
 * The digests of all partitions of a store, kept up to date with every chunk that comes or goes.
 * A version grows with each change, so that those who asked before are told only what changed since.
 */
export class PartitionDigests {
  readonly #counts = new Uint32Array(PARTITION_COUNT);
  readonly #hashes = new Uint32Array(PARTITION_COUNT * HALVES);
  readonly #changedAt = new Float64Array(PARTITION_COUNT);
  #version = 0;
  #total = 0;

  /** Grows with every change; 0 for a store that never had a chunk since it was opened. */
  get version(): number {
    return this.#version;
  }

  /** Chunks of all partitions. */
  get total(): number {
    return this.#total;
  }

  /** A chunk is here that was not. */
  added(chunk: ChunkId): void {
    this.#toggle(chunk, 1);
  }

  /** A chunk is here no more. */
  removed(chunk: ChunkId): void {
    this.#toggle(chunk, -1);
  }

  of(partition: PartitionId): Digest {
    return {
      count: this.#counts[partition] ?? 0,
      high: this.#hashes[partition * HALVES] ?? 0,
      low: this.#hashes[partition * HALVES + 1] ?? 0,
    };
  }

  /** Partitions that changed after a version; from 0, all that are or were not empty. */
  changedSince(version: number): DigestRow[] {
    const rows: DigestRow[] = [];
    if (version === this.#version) return rows;
    for (let index = 0 as PartitionId; index < PARTITION_COUNT; index++) {
      if ((this.#changedAt[index] ?? 0) <= version) continue;
      const { count, high, low } = this.of(index);
      rows.push([index, count, high, low]);
    }
    return rows;
  }

  /** Partitions with at least one chunk, in order. */
  *nonEmpty(): Iterable<PartitionId> {
    for (let index = 0 as PartitionId; index < PARTITION_COUNT; index++) {
      if ((this.#counts[index] ?? 0) > 0) yield index;
    }
  }

  #toggle(chunk: ChunkId, by: 1 | -1): void {
    const partition = partitionOf(chunk);
    let high = 0x9e3779b9;
    let low = 0x85ebca6b;
    for (let at = 0; at < chunk.length; at += 8) {
      const word = Number.parseInt(chunk.slice(at, at + 8), 16);
      high = mixed(high ^ word);
      low = mixed((low + Math.imul(word, 0x2c1b3c6d)) | 0);
    }
    const half = partition * HALVES;
    this.#hashes[half] = (this.#hashes[half] ?? 0) ^ high;
    this.#hashes[half + 1] = (this.#hashes[half + 1] ?? 0) ^ low;
    this.#total += by;
    this.#counts[partition] = (this.#counts[partition] ?? 0) + by;
    this.#changedAt[partition] = ++this.#version;
  }
}

/** The finalizer of MurmurHash3: every bit of the input moves about half of the output's. */
function mixed(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
