/**
 * Where every blob of the repository lies, in memory: an open hash table over typed arrays, about
 * 80 bytes a blob (a million blobs are about a terabyte of data).
 */
import { ID_BYTES, type StorageId } from '../format/ids.ts';
import type { IndexedPack } from '../format/index-file.ts';
import { type BlobType, type PackedBlob, packBytes } from '../format/pack.ts';

/** A blob and the pack it lies in. */
export interface BlobPlace extends PackedBlob {
  readonly pack: StorageId;
}

/** Numbers of one entry: pack, offset, length, uncompressed length, type. */
const FIELDS = 5;
const ENTRIES_AT_START = 1024;

/** All indexes of a repository as one. A blob that lies in several packs has several entries. */
export class BlobIndex {
  #ids = Buffer.allocUnsafe(ENTRIES_AT_START * ID_BYTES);
  #fields = new Uint32Array(ENTRIES_AT_START * FIELDS);
  /** Entry number + 1, or 0. Twice as many slots as entries fit. */
  #table = new Uint32Array(ENTRIES_AT_START * 2);
  #count = 0;
  readonly #packs: StorageId[] = [];
  readonly #packNumbers = new Map<StorageId, number>();
  /** By pack number: where its last blob ends. */
  readonly #packEnds: number[] = [];
  /** By pack number: bytes of the whole pack, its header included. */
  readonly #packBytes: number[] = [];
  readonly #probe = Buffer.alloc(ID_BYTES);

  /** Entries, duplicates included. */
  get size(): number {
    return this.#count;
  }

  /** Adds a pack's blobs; a pack that is known already is passed over. */
  add({ id, blobs }: IndexedPack): void {
    if (this.#packNumbers.has(id)) return;
    const pack = this.#packs.length;
    this.#packs.push(id);
    this.#packNumbers.set(id, pack);
    let end = 0;
    for (const blob of blobs) {
      this.#append(pack, blob);
      end = Math.max(end, blob.offset + blob.length);
    }
    this.#packEnds.push(end);
    this.#packBytes.push(packBytes(blobs));
  }

  /** A place of a blob. */
  find(id: StorageId, type: BlobType): BlobPlace | undefined {
    const slot = this.#slotOf(id, type);
    const entry = this.#table[slot] ?? 0;
    return entry === 0 ? undefined : this.#entry(entry - 1);
  }

  /** All places of a blob; looks through all entries, so for when the first is of no use. */
  places(id: StorageId, type: BlobType): BlobPlace[] {
    return [...this.entries()].filter((place) => place.id === id && place.type === type);
  }

  /** Whether the blob is in the repository. */
  has(id: StorageId, type: BlobType): boolean {
    return this.#table[this.#slotOf(id, type)] !== 0;
  }

  /** Whether the pack is listed. */
  hasPack(id: StorageId): boolean {
    return this.#packNumbers.has(id);
  }

  /** Every pack. */
  packs(): readonly StorageId[] {
    return this.#packs;
  }

  /** The offset in a pack behind its last blob. */
  packEnd(id: StorageId): number {
    return this.#packEnds[this.#packNumbers.get(id) ?? -1] ?? 0;
  }

  /** Bytes that a pack must have at least: all of its blobs and the header that lists them. */
  packBytes(id: StorageId): number {
    return this.#packBytes[this.#packNumbers.get(id) ?? -1] ?? 0;
  }

  /** The same without some packs: what is to be had. */
  without(packs: { has(id: StorageId): boolean }): BlobIndex {
    const rest = new BlobIndex();
    for (const pack of this.byPack()) if (!packs.has(pack.id)) rest.add(pack);
    return rest;
  }

  /** Every pack with its blobs. */
  *byPack(): Iterable<{ readonly id: StorageId; readonly blobs: readonly BlobPlace[] }> {
    let blobs: BlobPlace[] = [];
    for (const blob of this.entries()) {
      if (blobs[0] !== undefined && blobs[0].pack !== blob.pack) {
        yield { id: blobs[0].pack, blobs };
        blobs = [];
      }
      blobs.push(blob);
    }
    if (blobs[0] !== undefined) yield { id: blobs[0].pack, blobs };
  }

  /** Every entry, in the order they were added: all of a pack in a row. */
  *entries(): Iterable<BlobPlace> {
    for (let number = 0; number < this.#count; number++) yield this.#entry(number);
  }

  #entry(number: number): BlobPlace {
    const [pack = 0, offset = 0, length = 0, uncompressedLength = 0, type] = this.#fields.subarray(
      number * FIELDS,
      (number + 1) * FIELDS,
    );
    return {
      id: this.#ids.toString('hex', number * ID_BYTES, (number + 1) * ID_BYTES),
      type: type === 1 ? 'tree' : 'data',
      offset,
      length,
      uncompressedLength,
      pack: this.#packs[pack] ?? '',
    };
  }

  /** The slot that holds the blob, or the free one where it belongs. */
  #slotOf(id: StorageId, type: BlobType): number {
    this.#probe.write(id, 'hex');
    const typeNumber = type === 'tree' ? 1 : 0;
    const mask = this.#table.length - 1;
    // Ids are hashes already: their first bytes are as good as any hash of them.
    for (let slot = this.#probe.readUInt32LE(0) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#table[slot] ?? 0;
      if (entry === 0) return slot;
      const at = (entry - 1) * ID_BYTES;
      const isSame =
        this.#fields[(entry - 1) * FIELDS + 4] === typeNumber &&
        this.#probe.compare(this.#ids, at, at + ID_BYTES) === 0;
      if (isSame) return slot;
    }
  }

  #append(pack: number, blob: PackedBlob): void {
    if (this.#count * 2 >= this.#table.length) this.#grow();
    const slot = this.#slotOf(blob.id, blob.type);
    const number = this.#count++;
    this.#ids.write(blob.id, number * ID_BYTES, 'hex');
    this.#fields.set(
      [pack, blob.offset, blob.length, blob.uncompressedLength, blob.type === 'tree' ? 1 : 0],
      number * FIELDS,
    );
    if (this.#table[slot] === 0) this.#table[slot] = number + 1;
  }

  #grow(): void {
    const entries = this.#table.length;
    const ids = Buffer.allocUnsafe(entries * ID_BYTES);
    this.#ids.copy(ids);
    const fields = new Uint32Array(entries * FIELDS);
    fields.set(this.#fields);
    this.#ids = ids;
    this.#fields = fields;
    this.#table = new Uint32Array(entries * 2);
    const mask = this.#table.length - 1;
    for (let number = 0; number < this.#count; number++) {
      const id = this.#ids.toString('hex', number * ID_BYTES, (number + 1) * ID_BYTES);
      const type = this.#fields[number * FIELDS + 4] === 1 ? 'tree' : 'data';
      const slot = this.#slotOf(id, type) & mask;
      if (this.#table[slot] === 0) this.#table[slot] = number + 1;
    }
  }
}
