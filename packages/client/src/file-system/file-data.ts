import {
  type ChunkId,
  type Extent,
  type ExtentWrite,
  HoldfastError,
  LIMITS,
  type NodeReference,
  type Operation,
  type OperationAnswer,
  type RequestContext,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { Session, VolumeAddress } from '../session/session.ts';
import { ExtentCache, WINDOW_BYTES, type Window } from './extent-cache.ts';

/** Stores bytes as one chunk, durable on enough replicas when it resolves. */
export interface ChunkSink {
  write(
    bytes: Uint8Array,
    policy: { replicas: number; minReplicas: number },
    signal?: AbortSignal,
  ): Promise<{ chunk: ChunkId; chunkLength: number }>;
}

/** Reads verified bytes of a chunk, from memory or from whichever replica has them. */
export interface ChunkSource {
  read(chunk: ChunkId, chunkLength: number, offset: number, length: number): Promise<Uint8Array>;
}

/** What {@link FileData} works with. */
export interface FileDataOptions {
  readonly session: Pick<Session, 'view'>;
  readonly sink: ChunkSink;
  readonly source: ChunkSource;
  /** Whether what was learned of a volume may be believed now without asking. */
  readonly isHeld: (volume: VolumeNumber) => boolean;
}

/** Bytes that are fetched ahead of a reader who reads on where it stopped. */
const READ_AHEAD_BYTES = 1024 * 1024;
/** Files whose last read is remembered. */
const READERS_MAX = 1_024;

/**
 * Contents of files, written through: when a write resolves its bytes are durable and its extent is
 * committed, so that every host sees it at once and fsync has nothing left to do.
 */
export class FileData {
  readonly #session: Pick<Session, 'view'>;
  readonly #sink: ChunkSink;
  readonly #source: ChunkSource;
  readonly #isHeld: (volume: VolumeNumber) => boolean;
  readonly #extents = new ExtentCache();
  /** Where the last read of a file ended. */
  readonly #readers = new Map<string, number>();

  constructor(options: FileDataOptions) {
    this.#session = options.session;
    this.#sink = options.sink;
    this.#source = options.source;
    this.#isHeld = options.isHeld;
  }

  /** Runs a change of a file's contents that is not a write: truncation, allocation. */
  changing<T>(node: NodeReference, change: () => Promise<T>): Promise<T> {
    return this.#extents.changing(node, change);
  }

  /** Forgets where the bytes of a volume's files are. */
  forget(volume: VolumeNumber): void {
    this.#extents.forget(volume);
  }

  /** Up to `length` bytes from `offset`; shorter only at the end of file. */
  async read(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<Uint8Array> {
    if (!this.#isHeld(node.volume)) return this.#readOnce(volume, node, offset, length, context);
    const parts: Uint8Array[] = [];
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, (Math.floor(at / WINDOW_BYTES) + 1) * WINDOW_BYTES);
      const part = await this.#readWindow(volume, node, at, end - at, context);
      parts.push(part);
      if (part.length < end - at) break; // the end of the file
      at = end;
    }
    this.#readAhead(node, offset, length);
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
  }

  /** Asks the shard where the bytes are, every time. */
  async #readOnce(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<Uint8Array> {
    const view = { view: 'extents', ino: node.ino, offset, length } as const;
    const { extents, attributes } = await this.#session.view(
      addressOf(volume),
      view,
      context.signal,
    );
    return this.#assemble(extents, offset, Math.max(0, Math.min(length, attributes.size - offset)));
  }

  /** Reads within one window, whose extents are kept. */
  async #readWindow(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<Uint8Array> {
    const show = ({ size, extents }: Window): Promise<Uint8Array> =>
      this.#assemble(extents, offset, Math.max(0, Math.min(length, size - offset)));
    const known = this.#extents.get(node, offset);
    if (known === undefined) return show(await this.#fetchWindow(volume, node, offset, context));
    try {
      return await show(known);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      // The same bytes may be in another chunk by now, and the one that was learned of gone.
      this.#extents.outdate(node);
      return show(await this.#fetchWindow(volume, node, offset, context));
    }
  }

  #fetchWindow(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    context: RequestContext,
  ): Promise<Window> {
    const start = Math.floor(offset / WINDOW_BYTES) * WINDOW_BYTES;
    return this.#extents.fetch(node, offset, async () => {
      const view = { view: 'extents', ino: node.ino, offset: start, length: WINDOW_BYTES } as const;
      const { extents, attributes } = await this.#session.view(
        addressOf(volume),
        view,
        context.signal,
      );
      return { size: attributes.size, extents };
    });
  }

  /** Has the next bytes brought into memory when a reader reads on where it stopped. */
  #readAhead(node: NodeReference, offset: number, length: number): void {
    const key = `${node.volume}/${node.ino}`;
    const end = offset + length;
    const isSequential = this.#readers.get(key) === offset || offset === 0;
    this.#readers.delete(key);
    this.#readers.set(key, end);
    for (const oldest of this.#readers.keys()) {
      if (this.#readers.size <= READERS_MAX) break;
      this.#readers.delete(oldest);
    }
    const window = this.#extents.get(node, end);
    if (!isSequential || window === undefined) return;
    const ahead = Math.min(
      READ_AHEAD_BYTES,
      window.size - end,
      WINDOW_BYTES - (end % WINDOW_BYTES),
    );
    // Whoever reads these bytes next is told of a failure; nobody waits for them now.
    if (ahead > 0) this.#assemble(window.extents, end, ahead).catch(() => undefined);
  }

  /** Bytes [offset, offset + length) of the extents that cover them. */
  async #assemble(extents: readonly Extent[], offset: number, length: number): Promise<Uint8Array> {
    const pieces = extents
      .map((extent) => cut(extent, offset, offset + length))
      .filter((piece) => piece !== undefined);
    const [only] = pieces;
    if (pieces.length === 1 && only !== undefined && only.length === length)
      return this.#extentBytes(only);
    const bytes = new Uint8Array(length);
    await Promise.all(
      pieces.map(async (piece) => {
        if (piece.source.kind !== 'zero')
          bytes.set(await this.#extentBytes(piece), piece.offset - offset);
      }),
    );
    return bytes;
  }

  async #extentBytes({ source, length }: Extent): Promise<Uint8Array> {
    if (source.kind === 'zero') return new Uint8Array(length);
    if (source.kind === 'inline') return source.bytes;
    const { chunk, chunkLength, chunkOffset } = source;
    const bytes = await this.#source.read(chunk, chunkLength, chunkOffset, length);
    if (bytes.length !== length) {
      throw new HoldfastError('CORRUPT', `chunk ${chunk} is shorter than its extent`);
    }
    return bytes;
  }

  /** Writes all bytes at an offset, or at the end of file, and has `commit` tell the shard; small ones ride in the log. */
  async write(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    bytes: Uint8Array,
    options: {
      append: boolean;
      killPrivileges: boolean;
      commit: (operation: Operation) => Promise<OperationAnswer>;
    },
    context: RequestContext,
  ): Promise<void> {
    const base = options.append ? 0 : offset;
    if (base + bytes.length > LIMITS.fileBytesMax) throw new HoldfastError('EFBIG');
    const extents = await this.#store(volume, base, bytes, context);
    const operation = {
      op: 'write-extents',
      ino: node.ino,
      extents,
      append: options.append,
      killPrivileges: options.killPrivileges,
    } as const;
    await this.#extents.changing(node, () => options.commit(operation));
  }

  async #store(
    volume: VolumeRecord,
    base: number,
    bytes: Uint8Array,
    context: RequestContext,
  ): Promise<ExtentWrite[]> {
    if (bytes.length <= LIMITS.inlineBytesMax) {
      return [{ offset: base, length: bytes.length, source: { kind: 'inline', bytes } }];
    }
    const parts: Promise<ExtentWrite>[] = [];
    for (let at = 0; at < bytes.length; at += LIMITS.chunkBytesMax) {
      parts.push(
        this.#storeChunk(volume, base + at, bytes.subarray(at, at + LIMITS.chunkBytesMax), context),
      );
    }
    return Promise.all(parts);
  }

  async #storeChunk(
    volume: VolumeRecord,
    offset: number,
    bytes: Uint8Array,
    context: RequestContext,
  ): Promise<ExtentWrite> {
    const { chunk, chunkLength } = await this.#sink.write(bytes, volume.policy, context.signal);
    return {
      offset,
      length: bytes.length,
      source: { kind: 'chunk', chunk, chunkOffset: 0, chunkLength },
    };
  }
}

/** Whether bytes are not to be had where they were looked for. */
function isUnreadable(error: unknown): boolean {
  if (!(error instanceof HoldfastError)) return false;
  return error.kind === 'damage' || error.code === 'NO_REPLICA';
}

/** The part of an extent that lies in [from, to); undefined when none does. */
function cut(extent: Extent, from: number, to: number): Extent | undefined {
  const start = Math.max(from, extent.offset);
  const end = Math.min(to, extent.offset + extent.length);
  if (start >= end) return undefined;
  const skipped = start - extent.offset;
  if (skipped === 0 && end - start === extent.length) return extent;
  const { source } = extent;
  const range = { offset: start, length: end - start };
  if (source.kind === 'zero') return { ...range, source };
  if (source.kind === 'inline') {
    return {
      ...range,
      source: { kind: 'inline', bytes: source.bytes.subarray(skipped, skipped + end - start) },
    };
  }
  return { ...range, source: { ...source, chunkOffset: source.chunkOffset + skipped } };
}

/** Where a volume's metadata is. */
export function addressOf(volume: VolumeRecord): VolumeAddress {
  return { shard: volume.shard, volume: volume.number };
}
