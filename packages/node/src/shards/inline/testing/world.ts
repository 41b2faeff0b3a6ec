import { apply, filesWithInline, inlineRegion, MemoryState, view } from '@holdfast/metadata';
import {
  type ChunkId,
  type Command,
  type CommandResult,
  HoldfastError,
  INTERNAL_SESSION,
  type InodeNumber,
  makeChunkId,
  type Operation,
  type PartitionId,
  ROOT_INODE,
  type SessionId,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { Registry } from 'prom-client';
import { InlineMover } from '../inline-mover.ts';
import type { InlineLimits } from '../limits.ts';
import { InlineMetrics } from '../metrics.ts';

const SHARD = 1 as ShardId;
/** The usual volume of a {@link World}. */
const ONE = 1 as VolumeNumber;
/** The other volume of a {@link World}. */
export const TWO = 2 as VolumeNumber;
const SESSION = 'a'.repeat(16) as SessionId;
const POLICY = { replicas: 3, minReplicas: 2 };
const OWNER = { uid: 0, gid: 0 };

/** A shard in memory, two volumes, a place for chunks, and a mover whose clock stands still. */
export class World {
  readonly state = new MemoryState();
  readonly chunks = new Map<ChunkId, Uint8Array>();
  readonly deleted: ChunkId[] = [];
  /** Seconds before which the writer was told that its chunks are barred. */
  readonly barred: number[] = [];
  readonly moves: Operation[] = [];
  nowMs = 1_000_000;
  /** Called between a chunk's write and the commands that refer to it. */
  onWritten: () => void | Promise<void> = () => {};
  onPropose: (command: Command) => Promise<CommandResult> = (command) =>
    Promise.resolve(this.apply(command));
  readonly mover: InlineMover;
  #sequence = 0;
  #counter = 0;
  #madeAt = 0;

  constructor(limits: Partial<InlineLimits> = {}) {
    for (const volume of [ONE, TWO]) {
      const quotas = { quotaBytes: 0, quotaInodes: 0 };
      this.do({ op: 'init-volume', name: `v${volume}`, mode: 0o755, ...OWNER, ...quotas }, volume);
    }
    this.do({ op: 'open-session', host: 'h' }, 0 as VolumeNumber);
    this.mover = new InlineMover({
      shard: SHARD,
      state: this.state,
      propose: (operation, volume) => {
        this.moves.push(operation);
        return this.onPropose(this.command(operation, volume, INTERNAL_SESSION));
      },
      chunks: {
        write: (bytes) => this.#write(bytes),
        barred: (before) => {
          this.barred.push(before);
          this.#madeAt = before;
        },
        read: (chunk, offset, length) => this.#read(chunk, offset, length),
      },
      policyOf: () => Promise.resolve(POLICY),
      deleteChunks: (chunks) => Promise.resolve(this.deleted.push(...chunks)),
      now: () => this.nowMs,
      nowNs: () => BigInt(this.nowMs) * 1_000_000n,
      metrics: new InlineMetrics(new Registry()),
      limits: { settleMs: 1000, intervalMs: 0, failedMs: 0, ...limits },
    });
  }

  async #write(bytes: Uint8Array): Promise<{ chunk: ChunkId; chunkLength: number }> {
    const chunk = this.#store(bytes);
    await this.onWritten();
    return { chunk, chunkLength: bytes.length };
  }

  #store(bytes: Uint8Array): ChunkId {
    const chunk = makeChunkId(0 as PartitionId, 'f'.repeat(12), this.#counter++, this.#madeAt);
    this.chunks.set(chunk, Uint8Array.from(bytes));
    return chunk;
  }

  #read(chunk: ChunkId, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.chunks.get(chunk);
    if (bytes === undefined) return Promise.reject(new HoldfastError('CHUNK_MISSING'));
    return Promise.resolve(bytes.subarray(offset, offset + length));
  }

  command(operation: Operation, volume: VolumeNumber, session = SESSION): Command {
    const sequence = ++this.#sequence;
    const timeNs = BigInt(this.nowMs) * 1_000_000n;
    return { v: 1, session, sequence, answeredBelow: sequence, timeNs, volume, operation };
  }

  apply(command: Command): CommandResult {
    const result = apply(this.state, command);
    this.mover?.applied(command, result);
    return result;
  }

  do(operation: Operation, volume = ONE): CommandResult {
    const isInit = operation.op === 'init-volume' || operation.op === 'destroy-volume';
    const command = this.command(operation, volume, isInit ? INTERNAL_SESSION : SESSION);
    const result = this.apply(command);
    if (!result.ok) throw new HoldfastError('INTERNAL', `${operation.op}: ${result.code}`);
    return result;
  }

  file(name: string, volume = ONE): InodeNumber {
    const place = { parent: ROOT_INODE, name, kind: 'file', target: '', exclusive: true } as const;
    const result = this.do({ op: 'create', ...place, ...OWNER, mode: 0o644, rdev: 0 }, volume);
    return (result as { answer: { attributes: { ino: InodeNumber } } }).answer.attributes.ino;
  }

  write(ino: InodeNumber, offset: number, text: string, volume = ONE): void {
    const bytes = Buffer.from(text);
    const extent = { offset, length: bytes.length, source: { kind: 'inline', bytes } } as const;
    const how = { append: false, killPrivileges: false };
    this.do({ op: 'write-extents', ino, extents: [extent], ...how }, volume);
  }

  /** Writes as a client does what is too long to be inline. */
  writeChunk(ino: InodeNumber, offset: number, bytes: Uint8Array): ChunkId {
    const { length } = bytes;
    const chunk = this.#store(bytes);
    const source = { kind: 'chunk', chunk, chunkOffset: 0, chunkLength: length } as const;
    const extents = [{ offset, length, source }];
    this.do({ op: 'write-extents', ino, extents, append: false, killPrivileges: false });
    return chunk;
  }

  /** Pieces of a file's first region. */
  pieces(ino: InodeNumber): number {
    return inlineRegion(this.state, { volume: ONE, ino }, 0)!.pieceCount;
  }

  /** What a reader sees, and how many bytes of it are inline. */
  async read(
    ino: InodeNumber,
    o: { volume?: VolumeNumber; offset?: number } = {},
  ): Promise<{ text: string; inline: number }> {
    const { extents } = await view(this.state, {
      session: SESSION,
      volume: o.volume ?? ONE,
      view: { view: 'extents', ino, offset: o.offset ?? 0, length: 4 * 2 ** 20 },
    });
    let inline = 0;
    const parts = extents.map(({ length, source }) => {
      if (source.kind === 'zero') return Buffer.alloc(length, '.');
      if (source.kind === 'inline') {
        inline += length;
        return source.bytes;
      }
      const bytes = this.chunks.get(source.chunk)!;
      if (bytes.length !== source.chunkLength) throw new RangeError('wrong length of a chunk');
      return bytes.subarray(source.chunkOffset, source.chunkOffset + length);
    });
    return { text: Buffer.concat(parts).toString(), inline };
  }

  /** Time passes. */
  pass(ms: number): void {
    this.nowMs += ms;
  }

  /** Runs the mover until something holds. */
  async until(holds: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await holds())) await new Promise(setImmediate);
  }

  async isMoved(): Promise<boolean> {
    return (await filesWithInline(this.state, undefined, 1)).length === 0;
  }
}
