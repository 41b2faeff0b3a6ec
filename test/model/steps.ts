/** Random steps as numbers, and the operations that they mean in the present state of the model. */
import {
  type ChunkId,
  type ExtentSource,
  type ExtentWrite,
  type FileKind,
  type InodeNumber,
  LIMITS,
  type LockRequest,
  makeChunkId,
  type Operation,
  type PartitionId,
} from '@holdfast/protocol';
import * as fc from 'fast-check';
import { removeAclStep, setAclStep } from './acl-steps.ts';
import { LOCK_CELLS } from './model-locks.ts';
import type { ModelNode } from './model-node.ts';
import type { ModelShard } from './model-shard.ts';

/** What a step does, with its weight. */
const ACTIONS = {
  create: 14,
  mkdir: 7,
  write: 22,
  truncate: 6,
  attributes: 4,
  fallocate: 6,
  unlink: 7,
  rmdir: 4,
  rename: 14,
  link: 6,
  setXattr: 4,
  removeXattr: 2,
  setAcl: 8,
  removeAcl: 2,
  lock: 8,
  releaseLocks: 2,
  releaseOrphans: 5,
  delegation: 1,
  repeat: 6,
  session: 3,
  reclaim: 3,
  moveBegin: 3,
  moveEnd: 3,
  look: 6,
} as const;

/** What a step does besides when snapshots are taken. */
const SNAPSHOT_ACTIONS = {
  snapshot: 12,
  removeSnapshot: 8,
  rollBack: 2,
  lookBack: 20,
  planBegin: 6,
  planEnd: 8,
} as const;

/** Name of an action. */
export type Action = keyof typeof ACTIONS | keyof typeof SNAPSHOT_ACTIONS;

/** A step: an action, a session, and numbers that are made to fit. */
export interface Step {
  readonly action: Action;
  readonly session: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
}

const number = fc.nat(0xffff);

/** Random steps of all actions but those of snapshots, or of the actions given. */
export function stepsOf(only?: readonly Action[]): fc.Arbitrary<Step> {
  return stepsOfWeights(Object.entries(ACTIONS) as [Action, number][], only);
}

/** Random steps of all actions. */
export function stepsWithSnapshots(): fc.Arbitrary<Step> {
  return stepsOfWeights(
    Object.entries({ ...ACTIONS, ...SNAPSHOT_ACTIONS }) as [Action, number][],
    undefined,
  );
}

/** What content is cut off with, and snapshots are taken around. */
const CONTENT_ACTIONS = {
  write: 20,
  truncate: 10,
  fallocate: 10,
  attributes: 6,
  unlink: 2,
  create: 4,
  releaseOrphans: 2,
  repeat: 4,
  reclaim: 2,
  moveBegin: 4,
  moveEnd: 4,
  ...SNAPSHOT_ACTIONS,
} as const;

/** Random steps on the content of few files, with snapshots. */
export function stepsOnContent(): fc.Arbitrary<Step> {
  return stepsOfWeights(Object.entries(CONTENT_ACTIONS) as [Action, number][], undefined);
}

function stepsOfWeights(
  weights: readonly [Action, number][],
  only: readonly Action[] | undefined,
): fc.Arbitrary<Step> {
  const chosen = weights.filter(([action]) => only?.includes(action) ?? true);
  return fc.record({
    action: fc.oneof(
      ...chosen.map(([action, weight]) => ({ arbitrary: fc.constant(action), weight })),
    ),
    session: fc.nat(2),
    a: number,
    b: number,
    c: number,
    d: number,
    e: number,
  });
}

function pick<T>(list: readonly T[], index: number): T {
  return list[index % list.length] as T;
}

const NAMES = ['a', 'b', 'c', 'd', 'ü'.repeat(3), 'n\xff\x80', 'x'.repeat(255)];
const BAD_NAMES = ['', '.', '..', 'a/b', 'n\0', 'y'.repeat(256)];
const KINDS: readonly FileKind[] = [
  'file',
  'file',
  'file',
  'symlink',
  'fifo',
  'socket',
  'char',
  'block',
];
const SNAPSHOT_NAMES = ['s', 't', 'u-1', 'v.x', 'w', '.x'];
const MODES = [0o644, 0o755, 0o4755, 0o2755, 0o2644, 0o6711, 0o1777];

const MiB = 1024 * 1024;
const SMALL_OFFSETS = [0, 1, 50, 100, 127, 128, 200, 4000, 4096, 5000];
const EDGE_OFFSETS = [MiB - 40, MiB - 1, MiB, MiB + 3, 2 * MiB - 10, 2 * MiB, 3 * MiB + 17];
const FAR_OFFSETS = [70 * MiB - 5, 200 * MiB, 2 ** 40 - 3, LIMITS.fileBytesMax - 100];
const LENGTHS = [1, 2, 3, 10, 50, 100, 128, 300, 4096, 6000];

/** By which writers say when they made a chunk. */
export interface WritersClock {
  second: number;
}

/** Makes operations of steps; remembers the chunks that it wrote. */
export class Interpreter {
  readonly model: ModelShard;
  /** Far offsets make garbage that is counted until it is reclaimed: not with an exact quota. */
  readonly #allowsFar: boolean;
  readonly chunks: Map<string, Uint8Array>;
  /** Chunks of the volumes that a clone comes from: it must not name them. */
  readonly #lent: ReadonlySet<string>;
  /** Chunks of before a rollback: they are not named again either. */
  readonly #before = new Set<string>();
  readonly #clock: WritersClock;

  constructor(
    makeModel: (chunks: ReadonlyMap<string, Uint8Array>) => ModelShard,
    allowsFar: boolean,
    { base, clock = { second: 0 } }: { base?: Interpreter; clock?: WritersClock } = {},
  ) {
    this.#clock = clock;
    this.chunks = base?.chunks ?? new Map();
    this.model = makeModel(this.chunks);
    const lent =
      base === undefined ? [] : this.model.nodes.flatMap(({ content }) => content.chunks);
    this.#lent = new Set(lent);
    this.#allowsFar = allowsFar;
  }

  /** Whether a chunk is the volume's own. */
  isOwn(chunk: string): boolean {
    return !this.#lent.has(chunk);
  }

  /** The volume was rolled back. */
  rolledBack(): void {
    for (const chunk of this.chunks.keys()) this.#before.add(chunk);
  }

  /** A directory mostly; sometimes anything, sometimes nothing. */
  directory(index: number): InodeNumber {
    const directories = this.model.alive.filter((node) => node.isDirectory);
    if (index % 29 === 28) return this.any(index >> 3);
    return pick(directories, index).ino as InodeNumber;
  }

  /** A regular file mostly. */
  file(index: number): InodeNumber {
    const files = this.model.alive.filter((node) => node.kind === 'file');
    if (files.length === 0 || index % 29 === 28) return this.any(index >> 3);
    return pick(files, index).ino as InodeNumber;
  }

  /** A directory often, for what is made there; else anything. */
  #ofAcl(index: number): InodeNumber {
    return index % 3 === 0 ? this.directory(index >> 2) : this.any(index >> 2);
  }

  /** Any inode that there is or was. */
  any(index: number): InodeNumber {
    return pick([...this.model.nodes, { ino: 999_999 }], index).ino as InodeNumber;
  }

  name(index: number): string {
    return index % 31 === 30 ? pick(BAD_NAMES, index >> 3) : pick(NAMES, index);
  }

  /** A name that the directory has, if it has any. */
  #present(parent: number, index: number): string {
    const names = [...(this.model.nodes.find(({ ino }) => ino === parent)?.entries.keys() ?? [])];
    return names.length === 0 || index % 5 === 4 ? this.name(index >> 3) : pick(names, index);
  }

  offset(index: number): number {
    const kind = index % 16;
    if (kind < 9) return pick(SMALL_OFFSETS, index >> 4);
    if (kind < 15 || !this.#allowsFar) return pick(EDGE_OFFSETS, index >> 4);
    return pick(FAR_OFFSETS, index >> 4);
  }

  /** The operation that a step means; undefined for steps that are not operations. */
  operation({ action, a, b, c, d, e }: Step): Operation | undefined {
    switch (action) {
      case 'create':
        return this.#create(pick(KINDS, e), a, b, c);
      case 'mkdir':
        return this.#create('directory', a, b, c);
      case 'write':
        return this.#write(a, b, c, d, e);
      case 'truncate':
        return { op: 'set-attributes', ino: this.file(a), size: this.offset(b) + (c % 3) };
      case 'attributes':
        return this.#attributes(a, b, c);
      case 'fallocate':
        return this.#fallocate(a, b, c, d);
      case 'unlink':
      case 'rmdir': {
        const parent = this.directory(a);
        return { op: action, parent, name: this.#present(parent, b) };
      }
      case 'rename': {
        const parent = this.directory(a);
        const newParent = this.directory(c);
        const newName = d % 2 === 0 ? this.#present(newParent, d >> 1) : this.name(d >> 1);
        const flag = pick(['replace', 'replace', 'noreplace', 'exchange'] as const, e);
        return { op: 'rename', parent, name: this.#present(parent, b), newParent, newName, flag };
      }
      case 'link':
        return { op: 'link', ino: this.any(a), parent: this.directory(b), name: this.name(c) };
      case 'setXattr': {
        const length = pick([0, 1, 10, 40_000, 65_536, 65_537], b);
        const mode = pick(['set', 'create', 'replace'] as const, c);
        const name = pick(['user.a', 'user.b', 'user.ü', '', 'n'.repeat(256)], d);
        return {
          op: 'set-xattr',
          ino: this.any(a),
          name,
          value: new Uint8Array(length).fill(e),
          mode,
        };
      }
      case 'removeXattr':
        return { op: 'remove-xattr', ino: this.any(a), name: pick(['user.a', 'user.b'], b) };
      case 'setAcl':
        return setAclStep(this.#ofAcl(a), { b, c, d, e });
      case 'removeAcl':
        return removeAclStep(this.#ofAcl(a), b);
      case 'lock':
        return { op: 'set-lock', ino: this.file(a), lock: this.lock(b, c, d, e) };
      case 'releaseLocks': {
        const family = pick(['posix', 'flock'] as const, b);
        return { op: 'release-locks', ino: this.file(a), family, owner: `${c % 2}` };
      }
      case 'releaseOrphans':
        return { op: 'release-orphans', inos: this.#orphans(a, b) };
      case 'snapshot':
        return {
          op: 'create-snapshot',
          name: pick(SNAPSHOT_NAMES, a),
          ...(b % 3 === 0 && { origin: `elsewhere/${b}/1` }),
        };
      case 'removeSnapshot':
        return { op: 'remove-snapshot', name: pick(SNAPSHOT_NAMES, a) };
      case 'rollBack': {
        const snapshot = pick(SNAPSHOT_NAMES, a);
        return { op: 'rollback-volume', snapshot, keep: pick(SNAPSHOT_NAMES, b) };
      }
      case 'delegation':
        return { op: a % 2 === 0 ? 'acquire-delegation' : 'return-delegation' };
      default:
        return undefined;
    }
  }

  #orphans(a: number, b: number): InodeNumber[] {
    const orphans = this.model.alive.filter(({ nlink }) => nlink === 0);
    const inos = orphans.map(({ ino }) => ino as InodeNumber);
    return b % 2 === 0 ? inos : [this.any(a), ...inos.slice(0, 1)];
  }

  #create(kind: FileKind, a: number, b: number, c: number): Operation {
    const parent = this.directory(a);
    return {
      op: 'create',
      parent,
      name: this.name(b),
      kind,
      mode: pick(MODES, c) & (c % 2 === 0 ? 0o7777 : 0o7750),
      ...(c % 2 === 0 ? {} : { unmaskedMode: pick(MODES, c) }),
      uid: c % 3,
      gid: (c >> 2) % 3,
      rdev: kind === 'file' ? 0 : 0x803,
      target: kind === 'symlink' ? pick(['t', '../x/ü', ''], c >> 3) : '',
      exclusive: c % 4 !== 0,
    };
  }

  #attributes(a: number, b: number, c: number): Operation {
    return {
      op: 'set-attributes',
      ino: this.any(a),
      ...(b & 1 ? { mode: pick(MODES, c) } : {}),
      ...(b & 2 ? { uid: c % 4 } : {}),
      ...(b & 4 ? { gid: c % 5 } : {}),
      ...(b & 8 ? { atime: c % 2 === 0 ? ('now' as const) : BigInt(-c) } : {}),
      ...(b & 16 ? { mtime: c % 3 === 0 ? ('now' as const) : BigInt(c) } : {}),
      ...(b & 32 ? { killPrivileges: c % 2 === 0 } : {}),
    };
  }

  #fallocate(a: number, b: number, c: number, d: number): Operation {
    const mode = pick(['allocate', 'punch', 'zero', 'punch'] as const, d);
    const lengths = [0, 1, 100, 5000, MiB, 2 * MiB + 7];
    const far = mode === 'punch' && this.#allowsFar ? [2 ** 41, 100 * MiB] : [];
    const length = pick([...lengths, ...far], c);
    const keepSize = (d >> 2) % 2 === 0;
    return { op: 'fallocate', ino: this.file(a), mode, keepSize, offset: this.offset(b), length };
  }

  lock(b: number, c: number, d: number, e: number): LockRequest {
    const start = c % (LOCK_CELLS - 1);
    const end = d % 7 === 0 ? Number.MAX_SAFE_INTEGER : start + (d % 9);
    return {
      family: pick(['posix', 'posix', 'flock'] as const, b),
      type: pick(['read', 'write', 'read', 'unlock'] as const, e),
      start,
      end: end >= LOCK_CELLS ? Number.MAX_SAFE_INTEGER : end,
      owner: `${e % 2}`,
      pid: 100 + e,
    };
  }

  #write(a: number, b: number, c: number, d: number, e: number): Operation {
    const extents: ExtentWrite[] = [];
    for (let index = 0; index < 1 + (d % 3); index++) {
      const mixed = (c + index * 7919) & 0xffff;
      const length = this.#lengthOf(mixed, e + index);
      const offset = this.offset((b + index * 104_729) & 0xffff);
      extents.push({ offset, length, source: this.#source(mixed, length, e + index) });
    }
    const append = d % 5 === 0;
    return {
      op: 'write-extents',
      ino: this.file(a),
      extents: append ? extents.map((one) => ({ ...one, offset: one.offset % 5000 })) : extents,
      append,
      killPrivileges: d % 7 === 0,
    };
  }

  #lengthOf(mixed: number, e: number): number {
    const isLong = mixed % 4 !== 0 && e % 23 === 0;
    return isLong ? MiB + (mixed % 1000) : pick(LENGTHS, mixed >> 2);
  }

  #source(mixed: number, length: number, e: number): ExtentSource {
    const kind = mixed % 8;
    if (kind === 0 || kind === 4) {
      const bytes = new Uint8Array(length).map((_, index) => (e + index * 13) & 0xff);
      return { kind: 'inline', bytes };
    }
    if (kind === 7) return { kind: 'zero', allocated: e % 2 === 0 };
    const again = e % 3 === 0 ? this.#liveChunk(mixed, length) : undefined;
    return again ?? this.newChunk(length + (mixed % 3), e, mixed % 3);
  }

  /** A chunk that some file shows still. */
  #liveChunk(mixed: number, length: number): ExtentSource | undefined {
    const shown = this.model.alive.flatMap((node: ModelNode) => node.content.chunks);
    const live = shown.filter((chunk) => !this.#lent.has(chunk) && !this.#before.has(chunk));
    if (live.length === 0) return undefined;
    const chunk = pick(live, mixed) as ChunkId;
    const chunkLength = this.chunks.get(chunk)?.length ?? 0;
    if (chunkLength < length) return undefined;
    const chunkOffset = (mixed * 31) % (chunkLength - length + 1);
    return { kind: 'chunk', chunk, chunkOffset, chunkLength };
  }

  /** Writes a chunk. */
  newChunk(
    chunkLength: number,
    seed: number,
    chunkOffset: number,
  ): ExtentSource & { kind: 'chunk' } {
    const bytes = new Uint8Array(chunkLength);
    for (let index = 0; index < chunkLength; index++)
      bytes[index] = (seed * 7 + index * 11 + 1) & 0xff;
    const chunk = this.#named(bytes, this.#clock.second);
    return { kind: 'chunk', chunk, chunkOffset, chunkLength };
  }

  #named(bytes: Uint8Array, madeAt: number): ChunkId {
    const count = this.chunks.size;
    const chunk = makeChunkId((count % 16_384) as PartitionId, 'abcdef012345', count, madeAt);
    this.chunks.set(chunk, bytes);
    return chunk;
  }

  /** The operation with the bytes of chunks that are `barred` in new ones, made in that second or later. */
  writtenAnew(
    operation: Operation,
    barred: number,
    isKnown: (chunk: ChunkId) => boolean,
  ): Operation {
    if (!('extents' in operation)) return operation;
    const madeAt = Math.max(barred, this.#clock.second);
    const anew = new Map<ChunkId, ChunkId>();
    const extents = operation.extents.map((extent) => {
      const { source } = extent;
      if (source.kind !== 'chunk' || isKnown(source.chunk)) return extent;
      const bytes = this.chunks.get(source.chunk) as Uint8Array;
      const chunk = anew.get(source.chunk) ?? this.#named(bytes, madeAt);
      anew.set(source.chunk, chunk);
      return { ...extent, source: { ...source, chunk } };
    });
    return { ...operation, extents };
  }

  /** A chunk of given bytes. */
  chunkOf(bytes: Uint8Array): ExtentSource & { kind: 'chunk' } {
    const source = this.newChunk(bytes.length, 0, 0);
    this.chunks.set(source.chunk, bytes);
    return source;
  }
}
