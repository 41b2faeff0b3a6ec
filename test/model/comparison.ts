// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in this class
/** Runs steps on the model and on the state machine and compares whatever can be seen. */
import { type FreedChunk, freedChunks } from '@holdfast/metadata';
import type {
  Attributes,
  CommandResult,
  InodeNumber,
  LockRequest,
  Operation,
  OperationAnswer,
  ShardId,
} from '@holdfast/protocol';
import { expect } from 'vitest';
import { type Courier, type Sent, sendWithChunks } from './courier.ts';
import { Looks } from './looks.ts';
import type { RunTag } from './model-content.ts';
import { LOCK_CELLS } from './model-locks.ts';
import type { ModelNode } from './model-node.ts';
import { type Expected, ModelShard } from './model-shard.ts';
import { Plans } from './plans.ts';
import { RealShard, type TestSession } from './real-shard.ts';
import { SnapshotLooks } from './snapshot-looks.ts';
import { Interpreter, type Step, type WritersClock } from './steps.ts';

/** What a run is about. */
export interface RunOptions {
  readonly quotaBytes: number;
  readonly quotaInodes: number;
  /** Offsets so far apart that content is deleted in slices. */
  readonly isFar: boolean;
  readonly reclaimKeys: number;
  /** Files that are there from the start. */
  readonly fileCount?: number;
  readonly clock?: WritersClock;
  readonly courier?: Courier;
}

interface PendingMove {
  readonly ino: InodeNumber;
  readonly contentVersion: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What a clone is compared as. */
export interface ComparisonBase {
  readonly of: Comparison;
  readonly snapshot: string;
  /** In the other shard. */
  readonly isAfar?: boolean;
}

/** What volumes of one shard have in common. */
interface Group {
  readonly members: Comparison[];
  readonly sessions: TestSession[];
  /** Of the sessions, in the model. */
  readonly names: Set<string>;
}

const SESSIONS = 3;

/** A model and a state machine that are given the same commands. */
export class Comparison {
  readonly real: RealShard;
  readonly #interpreter: Interpreter;
  readonly #options: RunOptions;
  #moves: PendingMove[] = [];
  /** Chunks that were given up before the last step. */
  #freedBefore = 0;
  readonly #plans: Plans;
  /** By shard. */
  readonly #groups: Map<ShardId, Group>;
  #letGo: () => void = () => {};
  /** A clone counts what was cut off when its snapshot was taken. */
  #isRough: boolean;

  /** A shard of one volume, or a clone of a snapshot of another comparison's volume. */
  constructor(options: RunOptions, base?: ComparisonBase) {
    const { quotaBytes, quotaInodes } = options;
    this.#options = options;
    this.#isRough = options.isFar && base !== undefined;
    const frozen = base === undefined ? undefined : base.of.#model.snapshots.get(base.snapshot);
    this.real = new RealShard(
      quotaBytes,
      quotaInodes,
      base === undefined ? undefined : { ...base, real: base.of.real },
    );
    this.#groups = base === undefined ? new Map() : base.of.#groups;
    const group = this.#group;
    group.members.push(this);
    this.#plans = new Plans(this.real);
    this.#interpreter = new Interpreter(
      (chunks) => {
        const chunkBytes = (chunk: string): Uint8Array => chunks.get(chunk) as Uint8Array;
        const model = { quotaBytes, quotaInodes, chunkBytes };
        return new ModelShard(model, this.real.nowNs, {
          sessions: group.names,
          ...(frozen !== undefined && { snapshot: frozen }),
        });
      },
      options.isFar,
      {
        ...(base !== undefined && { base: base.of.#interpreter }),
        ...(options.clock !== undefined && { clock: options.clock }),
      },
    );
    while (this.#sessions.length < SESSIONS) this.#sessions.push(this.#open());
    if (base === undefined || frozen === undefined) return;
    base.of.#model.held.push(frozen);
    this.#letGo = () => {
      const { held } = base.of.#model;
      held.splice(held.indexOf(frozen), 1);
    };
  }

  /** The comparisons of this one's shard, itself included. */
  get #group(): Group {
    let group = this.#groups.get(this.real.shard);
    if (group === undefined) {
      group = { members: [], sessions: [], names: new Set() };
      this.#groups.set(this.real.shard, group);
    }
    return group;
  }

  get #sessions(): TestSession[] {
    return this.#group.sessions;
  }

  /** Names of the snapshots. */
  get snapshots(): string[] {
    return [...this.#model.snapshots.keys()];
  }

  /** Whether clones hold snapshots of it. */
  get isHeld(): boolean {
    return this.#model.held.length > 0;
  }

  /** Destroys a clone; its base is refused as long as it is held. */
  async destroy(): Promise<void> {
    this.#model.holders.clear();
    for (const one of this.#sessions) await this.real.execute(one, { op: 'return-delegation' });
    const destroyed = await this.real.internal({ op: 'destroy-volume', force: true });
    expect(destroyed).toMatchObject(this.isHeld ? { ok: false, code: 'EBUSY' } : { ok: true });
    if (this.isHeld) return;
    this.#letGo();
    const { members } = this.#group;
    members.splice(members.indexOf(this), 1);
    this.real.letGo();
    await this.real.reclaimAll(this.#options.reclaimKeys);
    const freed = await this.#freedChunks();
    await this.real.internal({ op: 'chunks-collected', places: freed.map(({ place }) => place) });
    for (const chunk of freed) expect(this.#interpreter.isOwn(chunk.chunk)).toBe(true);
    expect(this.real.keyCount()).toBe(0);
  }

  get #model(): ModelShard {
    return this.#interpreter.model;
  }

  /** Makes the files that are there from the start. */
  async begin(): Promise<void> {
    const create = { action: 'create', session: 0, a: 0, c: 0, d: 0, e: 0 } as const;
    for (let b = 0; b < (this.#options.fileCount ?? 0); b++) await this.step({ ...create, b });
  }

  /** Does one step on both, compares the answers, and makes sure that nothing shown was given up. */
  async step(step: Step): Promise<void> {
    await this.#take(step);
    const freed = await this.#freedChunks();
    if (freed.length === this.#freedBefore) return;
    this.#freedBefore = freed.length;
    const live = this.#liveChunks();
    for (const { chunk } of freed) expect(live.has(chunk), `${chunk} is in use`).toBe(false);
  }

  async #take(step: Step): Promise<void> {
    const session = this.#sessions[step.session] as TestSession;
    this.real.nowNs += 7n;
    const meant = this.#interpreter.operation(step);
    if (meant !== undefined) {
      const nodes = this.#model.nodes.length;
      const sent = await this.#send(session, meant);
      if (sent === undefined) return;
      const { operation, result } = sent;
      const expected = this.#model.apply(session.id, this.real.nowNs, operation);
      if (operation.op === 'create') this.#learnNumber(nodes, result);
      this.#compareResults(operation, expected, result);
      if (operation.op === 'rollback-volume' && result.ok) await this.#rolledBack();
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
      case 'planBegin':
        return this.#plans.begin(this.#options.reclaimKeys);
      case 'planEnd':
        return this.#plans.end(step.a, step.b);
      case 'lookBack':
        return this.#lookBack(session, step);
      default:
        return this.#look(session, step);
    }
  }

  #send(session: TestSession, operation: Operation): Promise<Sent | undefined> {
    const { courier } = this.#options;
    return sendWithChunks(
      { real: this.real, interpreter: this.#interpreter, courier },
      session,
      operation,
    );
  }

  async #rolledBack(): Promise<void> {
    await this.real.rolledBack(this.#sessions);
    this.#interpreter.rolledBack();
    this.#moves = []; // the leader moves what it found in one tree in that tree only
    this.#isRough = this.#options.isFar;
  }

  /** Compares all that can be seen, and checks the state's invariants. */
  async finish(): Promise<void> {
    const session = this.#sessions[0] as TestSession;
    this.#model.holders.clear();
    for (const one of this.#sessions) await this.real.execute(one, { op: 'return-delegation' });
    // What was cut off below is deleted when all of it is there.
    if (this.#options.isFar || this.real.pair.roll(2) === 0) await this.real.copyAll();
    expect(await this.real.problems()).toEqual([]);
    await this.real.reclaimAll(this.#options.reclaimKeys);
    expect(await this.real.problems()).toEqual([]);
    for (const node of this.#model.nodes) await this.#compareNode(session, node);
    await this.#snapshots.compareAll(session);
    await this.#compareChunks();
    await this.#snapshots.removeAll(session);
    await this.#compareChunks();
    const space = await this.real.view(session, { view: 'space' });
    expect(space).toEqual({
      usedBytes: this.#isRough ? space.usedBytes : this.#model.usedBytes,
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
    const { snapshot } = wantedRest;
    // As with attributes: bytes that were cut off count until they are reclaimed.
    if (this.#options.isFar && snapshot !== undefined && rest.snapshot !== undefined) {
      const { usedBytes } = rest.snapshot;
      expect(rest).toEqual({ ...wantedRest, snapshot: { ...snapshot, usedBytes } });
    } else {
      expect(rest).toEqual(wantedRest);
    }
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
    expect(await this.real.repeat(again.command)).toEqual(again.result);
    expect(this.real.fingerprint()).toBe(before);
  }

  async #endSession({ session: index, a }: Step): Promise<void> {
    const session = this.#sessions[index] as TestSession;
    for (const one of this.#group.members) one.#model.endSession(session.id);
    if (a % 2 === 0) await this.real.execute(session, { op: 'close-session' });
    else await this.real.internal({ op: 'expire-session', expired: session.id });
    const late = await this.real.execute(session, { op: 'release-orphans', inos: [] });
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
    const looks = this.#looks(session);
    const seen = await looks.tryView(range);
    if (seen === undefined || seen.extents.length === 0) return;
    const bytes = looks.bytesOf(seen.extents);
    this.#moves.push({ ino, contentVersion: seen.contentVersion, offset, bytes });
  }

  async #endMove(session: TestSession, index: number): Promise<void> {
    const move = this.#moves.splice(index % Math.max(1, this.#moves.length), 1)[0];
    if (move === undefined) return;
    const { ino, contentVersion, offset, bytes } = move;
    const source = this.#interpreter.chunkOf(bytes);
    const sent = await this.#send(session, {
      op: 'move-inline',
      ino,
      contentVersion,
      extents: [{ offset, length: bytes.length, source }],
    });
    if (sent === undefined) return;
    const { result } = sent;
    const node = this.#model.alive.find((other) => other.ino === ino);
    const isHeld = [...this.#model.holders].some((holder) => holder !== session.id);
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

  /** One look in the middle of a run. */
  async #look(session: TestSession, { a, b, c, d, e }: Step): Promise<void> {
    const node = this.#model.alive[a % this.#model.alive.length] as ModelNode;
    if (node.kind === 'directory') {
      return this.#looks(session).compareDirectory(node, 1 + (b % 3));
    }
    if (node.kind !== 'file') return;
    await this.#compareLock(session, node, this.#interpreter.lock(b, c, d, e));
    await this.#looks(session).compareContent(node);
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
    const wanted = this.#model.attributes(node);
    if (this.#isRough && !node.isDead) {
      const { ino } = wanted;
      const { attributes } = await this.real.view(session, { view: 'attributes', ino });
      await this.#looks(session).compareNode(node, {
        ...wanted,
        allocatedBytes: attributes.allocatedBytes,
      });
    } else {
      await this.#looks(session).compareNode(node, wanted);
    }
    if (node.kind === 'file' && !node.isDead) await this.#compareLocks(session, node);
  }

  #looks(session: TestSession, at?: number): Looks {
    const { chunks } = this.#interpreter;
    return new Looks(
      (wanted) => this.real.view(session, at === undefined ? wanted : { ...wanted, at }),
      chunks,
    );
  }

  get #snapshots(): SnapshotLooks {
    const { chunks } = this.#interpreter;
    return new SnapshotLooks(this.real, this.#model, chunks, this.#options);
  }

  async #lookBack(session: TestSession, { a, b, c }: Step): Promise<void> {
    const snapshots = this.#snapshots;
    await (c % 4 === 0
      ? snapshots.compareChanges(session, a, b)
      : snapshots.compareOne(session, a, b));
  }

  /** Chunks of the volume that a file or a snapshot shows, or a snapshot that clones hold. */
  #liveChunks(): Set<string> {
    const copies = [...this.#model.needed];
    const nodes = [...this.#model.alive, ...copies.flatMap(({ nodes: some }) => some)];
    const chunks = nodes.flatMap(({ content }) => content.chunks);
    return new Set(chunks.filter((chunk) => this.#interpreter.isOwn(chunk)));
  }

  async #freedChunks(): Promise<FreedChunk[]> {
    const freed = await freedChunks(this.real.state, 0, 100_000);
    return freed.filter(({ volume }) => this.real.trees.includes(volume));
  }

  /** A chunk is up for collection exactly when nobody shows it. */
  async #compareChunks(): Promise<void> {
    const live = this.#liveChunks();
    const freed = await this.#freedChunks();
    const known = this.real.knownChunks();
    for (const { chunk } of freed) expect(live.has(chunk), `${chunk} is in use`).toBe(false);
    expect(new Set(freed.map(({ chunk }) => chunk)).size).toBe(freed.length);
    for (const chunk of live) expect(known.has(chunk)).toBe(true);
    expect(known.size).toBe(live.size + freed.length);
    await this.real.internal({ op: 'chunks-collected', places: freed.map(({ place }) => place) });
    expect(await this.#freedChunks()).toEqual([]);
    expect(await this.real.problems()).toEqual([]);
  }
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
