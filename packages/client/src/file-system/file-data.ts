import {
  barOf,
  type ChunkId,
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
import { bringAhead, bytesBetween, type ChunkSource } from './extent-bytes.ts';
import { ExtentCache, WINDOW_BYTES, type Window } from './extent-cache.ts';
import { Readers, type Stretch } from './readers.ts';

/** Stores bytes as one chunk, durable on enough replicas when it resolves. */
export interface ChunkSink {
  write(
    bytes: Uint8Array,
    policy: { replicas: number; minReplicas: number },
    signal?: AbortSignal,
  ): Promise<{ chunk: ChunkId; chunkLength: number }>;
  /** A chunk was refused: those made before a second (0: of no matter) are not to be named any more. */
  barred(before: number): void;
}

/** Times that bytes are written anew whose chunks were given up, and are not merely barred. */
const ANEW_MAX = 16;

/** What {@link FileData} works with. */
export interface FileDataOptions {
  readonly session: Pick<Session, 'view'>;
  readonly sink: ChunkSink;
  readonly source: ChunkSource;
  /** Whether what was learned of a volume may be believed now without asking. */
  readonly isHeld: (volume: VolumeNumber) => boolean;
}

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
  readonly #readers = new Readers();

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

  /** Up to `length` bytes from `offset`, in pieces that may be shared; fewer only at the end of file. */
  async read(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    if (!this.#isHeld(node.volume)) return this.#readOnce(volume, node, offset, length, context);
    const pieces: Uint8Array[] = [];
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, windowEnd(at));
      const part = await this.#readWindow(volume, node, at, end - at, context);
      pieces.push(...part);
      if (lengthOf(part) < end - at) return pieces; // the end of the file
      at = end;
    }
    const ahead = this.#readers.read(node, offset, length);
    if (ahead !== undefined) void this.#bringAhead(volume, node, ahead);
    return pieces;
  }

  /** Asks the shard where the bytes are, every time. */
  async #readOnce(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    length: number,
    context: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    const view = { view: 'extents', ino: node.ino, offset, length } as const;
    const { extents, attributes } = await this.#session.view(
      addressOf(volume),
      view,
      context.signal,
    );
    const end = Math.min(offset + length, attributes.size);
    return bytesBetween(this.#source, extents, offset, end);
  }

  /** Reads within one window, whose extents are kept. */
  async #readWindow(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    length: number,
    { signal }: RequestContext,
  ): Promise<readonly Uint8Array[]> {
    const show = ({ size, extents }: Window): Promise<readonly Uint8Array[]> =>
      bytesBetween(this.#source, extents, offset, Math.min(offset + length, size));
    const known = this.#extents.get(node, offset);
    if (known === undefined) return show(await this.#fetchWindow(volume, node, offset, signal));
    try {
      return await show(known);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      // The same bytes may be in another chunk by now, and the one that was learned of gone.
      this.#extents.outdate(node);
      return show(await this.#fetchWindow(volume, node, offset, signal));
    }
  }

  #fetchWindow(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    signal: AbortSignal | undefined,
  ): Promise<Window> {
    const start = windowEnd(offset) - WINDOW_BYTES;
    return this.#extents.fetch(node, offset, async () => {
      const view = { view: 'extents', ino: node.ino, offset: start, length: WINDOW_BYTES } as const;
      const { extents, attributes } = await this.#session.view(addressOf(volume), view, signal);
      return { size: attributes.size, extents };
    });
  }

  /** Has bytes brought into memory. Whoever reads them later is told of a failure; nobody waits now. */
  async #bringAhead(
    volume: VolumeRecord,
    node: NodeReference,
    { from, to }: Stretch,
  ): Promise<void> {
    try {
      for (let at = from; at < to && this.#isHeld(node.volume); at = windowEnd(at)) {
        const known = this.#extents.get(node, at);
        const { size, extents } = known ?? (await this.#fetchWindow(volume, node, at, undefined));
        if (at >= size) return;
        bringAhead(this.#source, extents, at, to);
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
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
    const { append, killPrivileges, commit } = options;
    for (let anew = 0; ; anew++) {
      const extents = await this.#store(volume, base, bytes, context);
      const how = { ino: node.ino, extents, append, killPrivileges };
      try {
        await this.#extents.changing(node, () => commit({ op: 'write-extents', ...how }));
        return;
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== 'CHUNK_FREED') throw error;
        // It took long until now: peers may have deleted them, and nothing of this command was done.
        const before = barOf(error.detail);
        if (before === 0 && anew >= ANEW_MAX) throw error;
        this.#sink.barred(before);
      }
    }
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

/** Where the window of a file ends that holds an offset. */
function windowEnd(offset: number): number {
  return (Math.floor(offset / WINDOW_BYTES) + 1) * WINDOW_BYTES;
}

function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/** Where a volume's metadata is. */
export function addressOf(volume: VolumeRecord): VolumeAddress {
  return { shard: volume.shard, volume: volume.number };
}
