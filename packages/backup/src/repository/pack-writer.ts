/**
 * Blobs in, packs and indexes out. The order of durability: a pack, then an index that lists it,
 * and only when {@link PackWriter.finish} has resolved may anything refer to the blobs.
 */
import { HoldfastError } from '@holdfast/protocol';
import { IV_BYTES } from '../format/cipher.ts';
import { compress } from '../format/envelope.ts';
import { type StorageId, storageIdOf } from '../format/ids.ts';
import { type IndexedPack, indexDocument } from '../format/index-file.ts';
import { type BlobType, encodePackEnd, type PackedBlob } from '../format/pack.ts';
import { BACKUP_LIMITS } from '../limits.ts';
import type { BlobIndex } from './blob-index.ts';
import { Gate } from './gate.ts';
import { packKey } from './load-index.ts';
import type { Repository } from './repository.ts';

interface OpenPack {
  readonly blobs: PackedBlob[];
  readonly parts: Uint8Array[];
  bytes: number;
}

function emptyPack(): OpenPack {
  return { blobs: [], parts: [], bytes: 0 };
}

/** What a writer has added to the repository so far. */
export interface WrittenCounts {
  blobs: number;
  /** Bytes of the plaintext of those blobs. */
  plainBytes: number;
  packs: number;
  /** Bytes sent to the store for packs. */
  packedBytes: number;
}

/** Options of {@link PackWriter}. */
export interface PackWriterOptions {
  readonly packBytes?: number;
  readonly signal?: AbortSignal;
}

/** One per backup or prune; the index handed in learns what is durable. */
export class PackWriter {
  readonly written: WrittenCounts = { blobs: 0, plainBytes: 0, packs: 0, packedBytes: 0 };
  readonly #repository: Repository;
  readonly #index: BlobIndex;
  readonly #packBytes: number;
  readonly #signal: AbortSignal | undefined;
  readonly #open: Record<BlobType, OpenPack> = { data: emptyPack(), tree: emptyPack() };
  /** Blobs on their way, so that a second one of the same bytes is not written. */
  readonly #pending = new Set<string>();
  readonly #blobGate = new Gate(BACKUP_LIMITS.blobsInFlightMax);
  readonly #uploadGate = new Gate(BACKUP_LIMITS.uploadsMax);
  readonly #uploads = new Set<Promise<void>>();
  #unlisted: IndexedPack[] = [];
  #indexing: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(repository: Repository, index: BlobIndex, options: PackWriterOptions = {}) {
    this.#repository = repository;
    this.#index = index;
    this.#packBytes = options.packBytes ?? BACKUP_LIMITS.packBytes;
    this.#signal = options.signal;
  }

  /** Adds a blob unless the repository has it; resolves with its id when the bytes may be reused. */
  async add(type: BlobType, plaintext: Uint8Array): Promise<StorageId> {
    const id = storageIdOf(plaintext);
    await this.addKnown(type, id, plaintext);
    return id;
  }

  /** As {@link add}, when the id is known; true: the blob was new. */
  async addKnown(type: BlobType, id: StorageId, plaintext: Uint8Array): Promise<boolean> {
    this.#check();
    const name = `${type}:${id}`;
    if (this.#index.has(id, type) || this.#pending.has(name)) return false;
    this.#pending.add(name);
    await this.#blobGate.run(() => this.#pack(type, id, plaintext));
    this.#check();
    return true;
  }

  /** Sends what is open, lists everything; after it the blobs may be referred to. */
  async finish(): Promise<WrittenCounts> {
    await this.#send('data');
    await this.#send('tree');
    while (this.#uploads.size > 0) await Promise.all(this.#uploads);
    this.#list();
    await this.#indexing;
    this.#check();
    return this.written;
  }

  #check(): void {
    this.#signal?.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #pack(type: BlobType, id: StorageId, plaintext: Uint8Array): Promise<void> {
    const { version } = this.#repository.config;
    const isWorthIt = version === 2 && plaintext.length >= BACKUP_LIMITS.compressBytesMin;
    const compressed = isWorthIt ? await compress(plaintext) : plaintext;
    const isSmaller = compressed.length < plaintext.length;
    const sealed = this.#repository.seal(isSmaller ? compressed : plaintext);
    const pack = this.#open[type];
    pack.blobs.push({
      id,
      type,
      offset: pack.bytes,
      length: sealed.length,
      uncompressedLength: isSmaller ? plaintext.length : 0,
    });
    pack.parts.push(sealed);
    pack.bytes += sealed.length;
    this.written.blobs++;
    this.written.plainBytes += plaintext.length;
    if (pack.bytes >= this.#packBytes) await this.#send(type);
  }

  /** Closes a pack; resolves when its upload has begun, so that at most so many are in memory. */
  async #send(type: BlobType): Promise<void> {
    const pack = this.#open[type];
    if (pack.blobs.length === 0) return;
    this.#open[type] = emptyPack();
    await this.#uploadGate.enter();
    const upload = this.#upload(pack)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#uploadGate.leave();
        this.#uploads.delete(upload);
      });
    this.#uploads.add(upload);
  }

  async #upload({ blobs, parts }: OpenPack): Promise<void> {
    const { store, key, surroundings } = this.#repository;
    const bytes = Buffer.concat([
      ...parts,
      encodePackEnd(blobs, key, surroundings.random(IV_BYTES)),
    ]);
    const id = storageIdOf(bytes);
    const options = { sha256: id, ...(this.#signal ? { signal: this.#signal } : {}) };
    await store.put(packKey(id), bytes, options);
    this.written.packs++;
    this.written.packedBytes += bytes.length;
    this.#index.add({ id, blobs });
    for (const blob of blobs) this.#pending.delete(`${blob.type}:${blob.id}`);
    this.#unlisted.push({ id, blobs });
    const count = this.#unlisted.reduce((sum, pack) => sum + pack.blobs.length, 0);
    if (this.#unlisted.length >= BACKUP_LIMITS.indexPacks || count >= BACKUP_LIMITS.indexBlobs)
      this.#list();
  }

  /** Writes an index of the packs that are durable and in none. */
  #list(): void {
    const packs = this.#unlisted;
    if (packs.length === 0) return;
    this.#unlisted = [];
    this.#indexing = this.#indexing
      .then(async () => {
        await this.#repository.save('index', indexDocument(packs), this.#signal);
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      });
  }

  /** Refuses further blobs and waits for what is on its way; packs that arrive harm nobody. */
  async abandon(): Promise<void> {
    this.#failure ??= { error: new HoldfastError('EINTR', 'the backup was given up') };
    await Promise.allSettled(this.#uploads);
    await this.#indexing;
  }
}
