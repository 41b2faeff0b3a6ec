import {
  type Attributes,
  type ChunkId,
  type Extent,
  type ExtentWrite,
  HoldfastError,
  LIMITS,
  type NodeReference,
  type RequestContext,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { Session, VolumeAddress } from '../session/session.ts';

/** Stores bytes as one chunk, durable on enough replicas when it resolves. */
export interface ChunkSink {
  write(
    bytes: Uint8Array,
    policy: { replicas: number; minReplicas: number },
    signal?: AbortSignal,
  ): Promise<{ chunk: ChunkId; chunkLength: number }>;
}

/** Reads verified bytes of a chunk from whichever replica has them. */
export interface ChunkSource {
  read(chunk: ChunkId, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
}

/** What {@link FileData} works with. */
export interface FileDataOptions {
  readonly session: Session;
  readonly sink: ChunkSink;
  readonly source: ChunkSource;
}

/**
 * Contents of files, written through: when a write resolves its bytes are durable and its extent is
 * committed, so that every host sees it at once and fsync has nothing left to do.
 */
export class FileData {
  readonly #session: Session;
  readonly #sink: ChunkSink;
  readonly #source: ChunkSource;

  constructor(options: FileDataOptions) {
    this.#session = options.session;
    this.#sink = options.sink;
    this.#source = options.source;
  }

  /** Up to `length` bytes from `offset`; shorter only at the end of file. */
  async read(
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
    const available = Math.max(0, Math.min(length, attributes.size - offset));
    const only = extents[0];
    if (extents.length === 1 && only !== undefined && only.length === available) {
      return this.#extentBytes(only, context);
    }
    const bytes = new Uint8Array(available);
    await Promise.all(
      extents.map(async (extent) => {
        if (extent.source.kind !== 'zero')
          bytes.set(await this.#extentBytes(extent, context), extent.offset - offset);
      }),
    );
    return bytes;
  }

  async #extentBytes(extent: Extent, context: RequestContext): Promise<Uint8Array> {
    const { source, length } = extent;
    if (source.kind === 'zero') return new Uint8Array(length);
    if (source.kind === 'inline') return source.bytes;
    const bytes = await this.#source.read(source.chunk, source.chunkOffset, length, context.signal);
    if (bytes.length !== length) {
      throw new HoldfastError('CORRUPT', `chunk ${source.chunk} is shorter than its extent`);
    }
    return bytes;
  }

  /** Writes all bytes at an offset, or at the end of file; small ones ride in the log. */
  async write(
    volume: VolumeRecord,
    node: NodeReference,
    offset: number,
    bytes: Uint8Array,
    options: { append: boolean; killPrivileges: boolean },
    context: RequestContext,
  ): Promise<Attributes | undefined> {
    const base = options.append ? 0 : offset;
    if (base + bytes.length > LIMITS.fileBytesMax) throw new HoldfastError('EFBIG');
    const extents = await this.#store(volume, base, bytes, context);
    const answer = await this.#session.execute(
      addressOf(volume),
      {
        op: 'write-extents',
        ino: node.ino,
        extents,
        append: options.append,
        killPrivileges: options.killPrivileges,
      },
      context,
    );
    return answer.attributes;
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

/** Where a volume's metadata is. */
export function addressOf(volume: VolumeRecord): VolumeAddress {
  return { shard: volume.shard, volume: volume.number };
}
