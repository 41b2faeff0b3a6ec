/** Blobs out of packs, by ranges that hold their neighbours too, verified and decompressed. */
import { HoldfastError } from '@holdfast/protocol';
import { unseal } from '../format/cipher.ts';
import { decompress } from '../format/envelope.ts';
import { type StorageId, storageIdOf } from '../format/ids.ts';
import { type BlobType, plainLength } from '../format/pack.ts';
import { decodeTree, type TreeNode } from '../format/tree.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import type { BlobIndex, BlobPlace } from './blob-index.ts';
import { packKey } from './load-index.ts';
import type { Repository } from './repository.ts';

interface Window {
  readonly offset: number;
  readonly length: number;
  readonly bytes: Promise<Uint8Array>;
}

/** Reads blobs of a repository; keeps the last ranges of packs up to a bound. */
export class BlobReader {
  readonly #repository: Repository;
  readonly #index: BlobIndex;
  readonly #signal: AbortSignal | undefined;
  /** By pack and offset, the least recently used first. */
  readonly #windows = new Map<string, Window>();
  #cachedBytes = 0;
  /** Bytes fetched from the store. */
  fetchedBytes = 0;

  constructor(repository: Repository, index: BlobIndex, signal?: AbortSignal) {
    this.#repository = repository;
    this.#index = index;
    this.#signal = signal;
  }

  /** A blob's plaintext. CORRUPT when it is in no index, its pack is gone or its bytes are wrong. */
  async read(id: StorageId, type: BlobType): Promise<Uint8Array> {
    const place = this.#index.find(id, type);
    if (place === undefined)
      throw new HoldfastError('CORRUPT', `no index lists the ${type} blob ${id}`);
    try {
      return await this.#open(place);
    } catch (error) {
      if (!isCorrupt(error)) throw error;
      return this.#elsewhere(place, error);
    }
  }

  /** The same blob out of another pack, when there is one; a backup sends again what a lost pack held. */
  async #elsewhere(place: BlobPlace, failure: Error): Promise<Uint8Array> {
    for (const other of this.#index.places(place.id, place.type)) {
      if (other.pack === place.pack) continue;
      try {
        return await this.#open(other);
      } catch (error) {
        if (!isCorrupt(error)) throw error;
      }
    }
    const { id, type, pack } = place;
    throw new HoldfastError(
      'CORRUPT',
      `the ${type} blob ${id} of pack ${pack} is lost: ${failure.message}`,
      { cause: failure },
    );
  }

  async #open(place: BlobPlace): Promise<Uint8Array> {
    return openBlob(this.#repository, place, await this.#sealed(place));
  }

  /** A directory's entries. */
  async readTree(id: StorageId): Promise<TreeNode[]> {
    return decodeTree(await this.read(id, 'tree'));
  }

  /** Bytes of a blob's plaintext; `undefined` when it is in no index. */
  lengthOf(id: StorageId): number | undefined {
    const place = this.#index.find(id, 'data');
    return place === undefined ? undefined : plainLength(place);
  }

  async #sealed(place: BlobPlace): Promise<Uint8Array> {
    const window = this.#windowOf(place);
    let bytes: Uint8Array;
    try {
      bytes = await window.bytes;
    } catch (error) {
      if (!isCorrupt(error) || window.length === place.length) throw error;
      // A pack that is cut off behind this blob.
      const { offset, length } = place;
      return await this.#repository.store.get(
        packKey(place.pack),
        { offset, length },
        this.#signal,
      );
    }
    const start = place.offset - window.offset;
    return bytes.subarray(start, start + place.length);
  }

  #windowOf({ pack, offset, length }: BlobPlace): Window {
    // Windows begin at multiples of their length, so that one is found without searching; a blob
    // that crosses the border gets a range of its own.
    const size = BACKUP_LIMITS.windowBytes;
    const base = Math.floor(offset / size) * size;
    const isInside = offset + length <= base + size;
    const start = isInside ? base : offset;
    const end = isInside ? Math.min(base + size, this.#index.packEnd(pack)) : offset + length;
    const name = `${pack}:${start}:${end}`;
    const known = this.#windows.get(name);
    if (known !== undefined) {
      this.#windows.delete(name);
      this.#windows.set(name, known);
      return known;
    }
    const bytes = this.#repository.store
      .get(packKey(pack), { offset: start, length: end - start }, this.#signal)
      .catch((error: unknown) => {
        this.#drop(name);
        throw lost(error, pack);
      });
    this.fetchedBytes += end - start;
    const window = { offset: start, length: end - start, bytes };
    this.#windows.set(name, window);
    this.#cachedBytes += window.length;
    for (const oldest of this.#windows.keys()) {
      if (this.#cachedBytes <= BACKUP_LIMITS.windowCacheBytes || oldest === name) break;
      this.#drop(oldest);
    }
    return window;
  }

  #drop(name: string): void {
    this.#cachedBytes -= this.#windows.get(name)?.length ?? 0;
    this.#windows.delete(name);
  }
}

function isCorrupt(error: unknown): error is HoldfastError {
  return error instanceof HoldfastError && error.code === 'CORRUPT';
}

function lost(error: unknown, pack: StorageId): unknown {
  if (!(error instanceof HoldfastError) || error.code !== 'NOT_FOUND') return error;
  return new HoldfastError('CORRUPT', `the pack ${pack} is gone`, { cause: error });
}

/** A sealed blob to its plaintext, checked against its id. */
export async function openBlob(
  repository: Repository,
  place: BlobPlace,
  sealed: Uint8Array,
): Promise<Uint8Array> {
  const inner = unseal(repository.key, sealed);
  const { uncompressedLength } = place;
  const plaintext = uncompressedLength > 0 ? await decompress(inner, uncompressedLength) : inner;
  if (storageIdOf(plaintext) === place.id) return plaintext;
  throw new HoldfastError('CORRUPT', `the blob ${place.id} does not match its name`, {
    detail: { pack: place.pack, offset: place.offset },
  });
}
