// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in this class
/** Runs steps on the model and on the state machine and compares whatever can be seen. */
import { freedChunks } from '@holdfast/metadata';
import {
  type Attributes,
  type CommandResult,
  type Extent,
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type LockRequest,
  type Operation,
  type OperationAnswer,
  type View,
  type ViewAnswers,
} from '@holdfast/protocol';
import { expect } from 'vitest';
import type { RunTag } from './model-content.ts';
import { LOCK_CELLS } from './model-locks.ts';
import { type Expected, type ModelNode, ModelShard } from './model-shard.ts';
import { RealShard, type TestSession } from './real-shard.ts';
import { Interpreter, type Step } from './steps.ts';

/** What a run is about. */
export interface RunOptions {
  readonly quotaBytes: number;
  readonly quotaInodes: number;
  /** Offsets so far apart that content is deleted in slices. */
  readonly isFar: boolean;
  readonly reclaimKeys: number;
  /** Files that are there from the start. */
  readonly fileCount?: number;
}

interface PendingMove {
  readonly ino: InodeNumber;
  readonly contentVersion: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A model and a state machine that are given the same commands. */
export class Comparison {
  readonly real: RealShard;
  readonly #interpreter: Interpreter;
  readonly #options: RunOptions;
  readonly #sessions: TestSession[];
  #moves: PendingMove[] = [];

  constructor(options: RunOptions) {
    const { quotaBytes, quotaInodes } = options;
    this.#options = options;
    this.real = new RealShard(quotaBytes, quotaInodes);
    this.#interpreter = new Interpreter((chunks) => {
      const chunkBytes = (chunk: string): Uint8Array => chunks.get(chunk) as Uint8Array;
      return new ModelShard({ quotaBytes, quotaInodes, chunkBytes }, this.real.nowNs);
    }, options.isFar);
    this.#sessions = [this.#open(), this.#open(), this.#open()];
  }

  get #model(): ModelShard {
    return this.#interpreter.model;
  }

  /** Makes the files that are there from the start. */
  async begin(): Promise<void> {
    const create = { action: 'create', session: 0, a: 0, c: 0, d: 0, e: 0 } as const;
    for (let b = 0; b < (this.#options.fileCount ?? 0); b++) await this.step({ ...create, b });
  }

  /** Does one step on both and compares the answers. */
  async step(step: Step): Promise<void> {
    const session = this.#sessions[step.session] as TestSession;
    this.real.nowNs += 7n;
    const operation = this.#interpreter.operation(step);
    if (operation !== undefined) {
      const nodes = this.#model.nodes.length;
      const expected = this.#model.apply(session.id, this.real.nowNs, operation);
      const result = this.real.execute(session, operation);
      this.#learnNumber(nodes, result);
      this.#compareResults(operation, expected, result);
      return;
    }
    switch (step.action) {
      case 'repeat':
        return this.#repeat(session, step.a);
      case 'session':
        return this.#endSession(step);
      case 'reclaim':
        return this.real.reclaimAll(this.#options.reclaimKeys);
      case 'moveBegin':
        return this.#beginMove(session, step);
      case 'moveEnd':
        return this.#endMove(session, step.a);
      default:
        return this.#look(session, step);
    }
  }

  /** Compares all that can be seen, and checks the state's invariants. */
  async finish(): Promise<void> {
    const session = this.#sessions[0] as TestSession;
    this.#model.delegation = undefined;
    for (const one of this.#sessions) this.real.execute(one, { op: 'return-delegation' });
    expect(await this.real.problems()).toEqual([]);
    await this.real.reclaimAll(this.#options.reclaimKeys);
    expect(await this.real.problems()).toEqual([]);
    for (const node of this.#model.nodes) await this.#compareNode(session, node);
    await this.#compareChunks();
    expect(await this.real.view(session, { view: 'space' })).toEqual({
      usedBytes: this.#model.usedBytes,
      usedInodes: this.#model.alive.length,
      quotaBytes: this.#options.quotaBytes,
      quotaInodes: this.#options.quotaInodes,
    });
  }

  #open(): TestSession {
    const session = this.real.open();
    this.#model.sessions.add(session.id);
    return session;
  }

  /** The state machine numbers inodes; the model takes the number over. */
  #learnNumber(nodesBefore: number, result: CommandResult): void {
    const made = this.#model.nodes[nodesBefore];
    if (made === undefined) return;
    const ino = result.ok ? result.answer.attributes?.ino : undefined;
    expect(ino, 'the model makes an inode, so does the state machine').toBeDefined();
    expect(this.#model.nodes.some((node) => node.ino === ino)).toBe(false);
    made.ino = ino as number;
  }

  #compareResults(operation: Operation, expected: Expected, result: CommandResult): void {
    if ('code' in expected) {
      expect(result).toMatchObject({ ok: false, code: expected.code });
      return;
    }
    expect(result.ok, JSON.stringify(result, replacer)).toBe(true);
    if (!result.ok) return;
    const { attributes, replaced, directories: _compared, ...rest } = result.answer;
    this.#compareDirectories(operation, result.answer);
    const { attributes: wanted, replaced: wantedReplaced, ...wantedRest } = expected.answer;
    expect(rest).toEqual(wantedRest);
    this.#compareAttributes(attributes, wanted);
    this.#compareAttributes(replaced, wantedReplaced);
  }

  /** The directories whose names changed come with the answer, and nothing else does. */
  #compareDirectories(operation: Operation, { directories, created }: OperationAnswer): void {
    const changed = created === false ? [] : directoriesOf(operation);
    expect((directories ?? []).map(({ ino }) => ino)).toEqual([...new Set(changed)]);
    for (const found of directories ?? []) {
      const node = this.#model.nodes.find(({ ino }) => ino === found.ino);
      this.#compareAttributes(found, node && this.#model.attributes(node));
    }
  }

  #compareAttributes(found: Attributes | undefined, wanted: Attributes | undefined): void {
    const known = wanted?.ino === 0 && found !== undefined ? { ...wanted, ino: found.ino } : wanted;
    if (this.#options.isFar && found !== undefined && known !== undefined) {
      // Bytes that were cut off count until they are reclaimed.
      expect({ ...found, allocatedBytes: 0 }).toEqual({ ...known, allocatedBytes: 0 });
    } else {
      expect(found).toEqual(known);
    }
  }

  /** A request that the session sends again gets the same answer and changes nothing. */
  async #repeat(session: TestSession, index: number): Promise<void> {
    const last = session.sent.at(-1);
    const open = session.sent.filter(
      ({ command }) => command.sequence >= (last?.command.answeredBelow ?? 0),
    );
    const again = open[index % Math.max(1, open.length)];
    if (again === undefined || (!again.result.ok && again.result.code === 'DELEGATED')) return;
    const before = this.real.fingerprint();
    expect(this.real.repeat(again.command)).toEqual(again.result);
    expect(this.real.fingerprint()).toBe(before);
  }

  async #endSession({ session: index, a }: Step): Promise<void> {
    const session = this.#sessions[index] as TestSession;
    this.#model.endSession(session.id);
    if (a % 2 === 0) this.real.execute(session, { op: 'close-session' });
    else this.real.internal({ op: 'expire-session', expired: session.id });
    const late = this.real.execute(session, { op: 'release-orphans', inos: [] });
    expect(late).toMatchObject({ ok: false, code: 'SESSION_EXPIRED' });
    this.#sessions[index] = this.#open();
    // Orphans of the ended session die when its traces are cleaned up.
    await this.real.reclaimAll(this.#options.reclaimKeys);
  }

  async #beginMove(session: TestSession, { a, b, c }: Step): Promise<void> {
    const ino = this.#interpreter.file(a);
    const offset = this.#interpreter.offset(b);
    const length = 1 + (c % 9000);
    const range = { view: 'extents', ino, offset, length } as const;
    const seen = await this.#tryView(session, range);
    if (seen === undefined || seen.extents.length === 0) return;
    const bytes = this.#bytesOf(seen.extents);
    this.#moves.push({ ino, contentVersion: seen.contentVersion, offset, bytes });
  }

  async #endMove(session: TestSession, index: number): Promise<void> {
    const move = this.#moves.splice(index % Math.max(1, this.#moves.length), 1)[0];
    if (move === undefined) return;
    const { ino, contentVersion, offset, bytes } = move;
    const source = this.#interpreter.chunkOf(bytes);
    const result = this.real.execute(session, {
      op: 'move-inline',
      ino,
      contentVersion,
      extents: [{ offset, length: bytes.length, source }],
    });
    const node = this.#model.alive.find((other) => other.ino === ino);
    const isHeld = this.#model.delegation !== undefined && this.#model.delegation !== session.id;
    if (node === undefined || isHeld) {
      expect(result.ok).toBe(false);
      return;
    }
    expect(result.ok).toBe(true);
    await this.#learnSources(node, offset, bytes.length);
  }

  /** Takes over where bytes are after a move; that they are the same bytes is compared elsewhere. */
  async #learnSources(node: ModelNode, offset: number, length: number): Promise<void> {
    const to = Math.min(node.size, offset + length);
    if (offset >= to) return;
    const range = { view: 'extents', offset, length: to - offset } as const;
    const { extents } = await this.real.internalView({ ...range, ino: node.ino as InodeNumber });
    const bytes = node.content.read(offset, to);
    for (const extent of extents) {
      if (extent.source.kind === 'zero') continue;
      const tag: RunTag =
        extent.source.kind === 'inline' ? 'inline' : { chunk: extent.source.chunk };
      const from = extent.offset - offset;
      const part = bytes.slice(from, from + extent.length);
      node.content.put(extent.offset, extent.offset + extent.length, tag, part);
    }
  }

  async #tryView<V extends View>(
    session: TestSession,
    wanted: V,
  ): Promise<ViewAnswers[V['view']] | undefined> {
    try {
      return await this.real.view(session, wanted);
    } catch (error) {
      if (error instanceof HoldfastError && error.kind !== 'bug' && error.kind !== 'damage') {
        return undefined;
      }
      throw error;
    }
  }

  /** One look in the middle of a run. */
  async #look(session: TestSession, { a, b, c, d, e }: Step): Promise<void> {
    const holder = this.#model.delegation;
    if (holder !== undefined && holder !== session.id) {
      const refused = this.real.view(session, { view: 'space' });
      await expect(refused).rejects.toMatchObject({ code: 'DELEGATED' });
      return;
    }
    const node = this.#model.alive[a % this.#model.alive.length] as ModelNode;
    if (node.kind === 'directory') return this.#compareDirectory(session, node, 1 + (b % 3));
    if (node.kind !== 'file') return;
    await this.#compareLock(session, node, this.#interpreter.lock(b, c, d, e));
    await this.#compareContent(session, node);
  }

  async #compareLock(session: TestSession, node: ModelNode, lock: LockRequest): Promise<void> {
    if (lock.family === 'posix' && lock.start >= lock.end) return;
    const ino = node.ino as InodeNumber;
    const { conflict } = await this.real.view(session, { view: 'test-lock', ino, lock });
    const owner = `${session.id} ${lock.owner}`;
    expect(conflict !== undefined).toBe(node.locks.conflicts(owner, lock));
  }

  /** Each byte and each kind of lock, as an owner sees it who holds none. */
  async #compareLocks(session: TestSession, node: ModelNode): Promise<void> {
    for (const type of ['read', 'write'] as const) {
      const probe = { type, owner: 'probe', pid: 1 };
      const all = { start: 0, end: Number.MAX_SAFE_INTEGER };
      await this.#compareLock(session, node, { ...probe, ...all, family: 'flock' });
      for (let start = 0; start < LOCK_CELLS; start++) {
        const end = start + 1 === LOCK_CELLS ? Number.MAX_SAFE_INTEGER : start + 1;
        await this.#compareLock(session, node, { ...probe, start, end, family: 'posix' });
      }
    }
  }

  async #compareNode(session: TestSession, node: ModelNode): Promise<void> {
    const ino = node.ino as InodeNumber;
    if (node.isDead) {
      const gone = this.real.view(session, { view: 'attributes', ino });
      await expect(gone).rejects.toMatchObject({ code: 'ESTALE' });
      return;
    }
    const { attributes } = await this.real.view(session, { view: 'attributes', ino });
    expect(attributes).toEqual(this.#model.attributes(node));
    const { names } = await this.real.view(session, { view: 'xattr-names', ino });
    expect(names).toEqual([...node.xattrs.keys()]);
    for (const [name, wanted] of node.xattrs) {
      const { value } = await this.real.view(session, { view: 'xattr', ino, name });
      expect(Buffer.compare(value, wanted)).toBe(0);
    }
    if (node.kind === 'symlink') {
      const { target } = await this.real.view(session, { view: 'read-link', ino });
      expect(target).toBe(node.target);
    }
    if (node.kind === 'file') {
      await this.#compareLocks(session, node);
      await this.#compareContent(session, node);
    }
    if (node.kind === 'directory') await this.#compareDirectory(session, node, 2);
  }

  async #compareDirectory(session: TestSession, node: ModelNode, count: number): Promise<void> {
    const ino = node.ino as InodeNumber;
    const listed: [string, number][] = [];
    for (let after = 0, isEnd = false; !isEnd; ) {
      const page = await this.real.view(session, { view: 'read-directory', ino, after, count });
      for (const { name, cookie, attributes } of page.entries) {
        expect(cookie).toBeGreaterThan(after);
        after = cookie;
        listed.push([name, attributes.ino]);
      }
      isEnd = page.end;
    }
    expect(listed).toEqual([...node.entries].map(([name, entry]) => [name, entry.ino]));
    for (const [name, entry] of node.entries) {
      const { attributes } = await this.real.view(session, { view: 'lookup', parent: ino, name });
      expect(attributes.ino).toBe(entry.ino);
    }
    if (node.nlink > 0) {
      const { parent } = await this.real.view(session, { view: 'parent', ino });
      expect(parent).toBe(node.parent.ino);
    }
  }

  /** Data is where the model has it, and each byte of it is the same. */
  async #compareContent(session: TestSession, node: ModelNode): Promise<void> {
    const ino = node.ino as InodeNumber;
    const found: { from: number; to: number }[] = [];
    for (let at = 0; at < node.size; ) {
      const data = await this.#tryView(session, { view: 'seek', ino, offset: at, whence: 'data' });
      if (data === undefined) break;
      const hole = { view: 'seek', ino, offset: data.offset, whence: 'hole' } as const;
      const end = (await this.real.view(session, hole)).offset;
      expect(end).toBeGreaterThan(data.offset);
      expect(data.offset).toBeGreaterThanOrEqual(at);
      at = end;
      found.push({ from: data.offset, to: at });
    }
    expect(found).toEqual(node.content.segments(node.size));
    for (const { from, to } of found) {
      for (let at = Math.max(0, from - 10); at < to; at += LIMITS.extentsViewBytesMax) {
        const end = Math.min(to + 10, at + LIMITS.extentsViewBytesMax, node.size);
        const range = { view: 'extents', ino, offset: at, length: end - at } as const;
        const { extents } = await this.real.view(session, range);
        expectGapless(extents, at, end);
        expect(Buffer.compare(this.#bytesOf(extents), node.content.read(at, end))).toBe(0);
      }
    }
  }

  #bytesOf(extents: readonly Extent[]): Uint8Array {
    return Buffer.concat(
      extents.map(({ length, source }) => {
        if (source.kind === 'zero') return new Uint8Array(length);
        if (source.kind === 'inline') return source.bytes;
        const chunk = this.#interpreter.chunks.get(source.chunk) as Uint8Array;
        expect(source.chunkLength).toBe(chunk.length);
        return chunk.subarray(source.chunkOffset, source.chunkOffset + length);
      }),
    );
  }

  /** A chunk is up for collection exactly when no file shows it. */
  async #compareChunks(): Promise<void> {
    const live = new Set(this.#model.alive.flatMap(({ content }) => content.chunks));
    const freed = await freedChunks(this.real.state, 0, 100_000);
    const known = this.real.knownChunks();
    for (const { chunk } of freed) expect(live.has(chunk), `${chunk} is in use`).toBe(false);
    expect(new Set(freed.map(({ chunk }) => chunk)).size).toBe(freed.length);
    for (const chunk of live) expect(known.has(chunk)).toBe(true);
    expect(known.size).toBe(live.size + freed.length);
    this.real.internal({ op: 'chunks-collected', places: freed.map(({ place }) => place) });
    expect(await freedChunks(this.real.state, 0, 1)).toEqual([]);
    expect(await this.real.problems()).toEqual([]);
  }
}

function expectGapless(extents: readonly Extent[], from: number, to: number): void {
  let at = from;
  for (const { offset, length } of extents) {
    expect(offset).toBe(at);
    expect(length).toBeGreaterThan(0);
    at += length;
  }
  expect(at).toBe(to);
}

function replacer(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value;
}

function directoriesOf(operation: Operation): readonly InodeNumber[] {
  if (operation.op === 'rename') return [operation.parent, operation.newParent];
  return ['create', 'link', 'unlink', 'rmdir'].includes(operation.op) && 'parent' in operation
    ? [operation.parent]
    : [];
}
