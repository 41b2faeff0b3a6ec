/** The state machine under test, with sessions that number their requests and repeat them. */
import {
  apply,
  BaseMemory,
  check,
  type MemoryState,
  partialShadows,
  planAdoption,
  planReclaim,
  treeShownBy,
  viewWithBase,
} from '@holdfast/metadata';
import {
  type ChunkId,
  type Command,
  type CommandResult,
  decode,
  type HeldSnapshot,
  INTERNAL_SESSION,
  type Operation,
  type OperationAnswer,
  type SessionId,
  type ShardId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';

import { ShardPair } from './shard-pair.ts';

/** Answers that a session leaves unconfirmed, so that their requests can be repeated. */
const UNCONFIRMED_MAX = 4;

/** What a clone is made of. */
export interface CloneBase {
  readonly real: RealShard;
  readonly snapshot: string;
  /** In the other shard. */
  readonly isAfar?: boolean;
}

/** A session of the test. */
export interface TestSession {
  readonly id: SessionId;
  sequence: number;
  /** The last requests and their results. */
  readonly sent: { readonly command: Command; readonly result: CommandResult }[];
}

const FIRST_VOLUME = 7 as VolumeNumber;
const SHARDS = [1 as ShardId, 2 as ShardId] as const;

/** Where the snapshot of a clone in the other shard is. */
interface Afar {
  readonly real: RealShard;
  readonly snapshot: string;
  readonly generation: number;
}

/** The tree that was made meanwhile. */
function treeMadeBy(state: MemoryState, action: () => void): VolumeNumber {
  const shadows = (): string[] => state.entries(SHADOWS[0], SHADOWS[1]).map(([key]) => hex(key));
  const before = shadows();
  action();
  const made = shadows().find((key) => !before.includes(key));
  return Number.parseInt((made as string).slice(8), 16) as VolumeNumber;
}

const SHADOWS = [Buffer.of(0, 0, 0, 0x1a), Buffer.of(0, 0, 0, 0x1b)] as const;

const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex');

function snapshotNameKeyOf(tree: number, name: string): Uint8Array {
  const prefix = Buffer.of((tree >> 16) & 0xff, (tree >> 8) & 0xff, tree & 0xff, 0x42);
  return Buffer.concat([prefix, Buffer.from(name, 'latin1')]);
}

/** A shard as one of its volumes sees it. */
export class RealShard {
  readonly volume: VolumeNumber;
  readonly shard: ShardId;
  /** Under whose numbers records of the volume may lie: its own, its shadow's, and one for each rollback. */
  readonly trees: VolumeNumber[] = [];
  readonly #afar: Afar | undefined;
  /** Of all volumes of the test. */
  readonly pair: ShardPair;

  /** A shard with one volume, or a clone of a volume's snapshot. */
  constructor(quotaBytes: number, quotaInodes: number, base?: CloneBase) {
    const bounds = { quotaBytes, quotaInodes };
    this.pair = base?.real.pair ?? new ShardPair();
    this.volume = (FIRST_VOLUME + this.pair.volumes++) as VolumeNumber;
    this.trees.push(this.volume);
    const near = base?.real.shard ?? SHARDS[0];
    const other = near === SHARDS[0] ? SHARDS[1] : SHARDS[0];
    this.shard = base?.isAfar === true ? other : near;
    if (base === undefined) {
      const owner = { mode: 0o755, uid: 0, gid: 0 };
      this.#do({ op: 'init-volume', name: 'v', ...owner, ...bounds });
      return;
    }
    const { snapshot } = base;
    const from = base.real.volume;
    if (base.isAfar !== true) {
      this.#do({ op: 'clone-volume', name: 'c', from, snapshot, ...bounds });
      return;
    }
    const generation = base.real.generationOf(snapshot);
    this.#afar = { real: base.real, snapshot, generation };
    // Whoever makes it may fall over and begin again.
    const [held] = [this.#hold(), this.#hold()];
    const where = { shard: base.real.shard, from, generation };
    const operation = { op: 'clone-from-afar', name: 'c', ...where, held, ...bounds } as const;
    const shadow = treeMadeBy(this.state, () => this.#do(operation));
    this.#do(operation);
    this.trees.push(shadow);
  }

  get state(): MemoryState {
    return this.pair.of(this.shard).state;
  }

  #hold(): HeldSnapshot {
    const { real, ...which } = this.#afar as Afar;
    const { held } = real.#do({ op: 'hold-snapshot', ...which, by: this.volume });
    if (held === undefined) throw new Error('nothing is held');
    return held;
  }

  /** The volume was destroyed: what it held in the other shard is let go, for ever. */
  letGo(): void {
    if (this.#afar === undefined) return;
    const { real, ...which } = this.#afar;
    const { generation } = which;
    const letGo = { op: 'let-go', generation, by: this.volume } as const;
    for (const shard of [this, real, real]) shard.#do(letGo);
    const late = real.#apply({ op: 'hold-snapshot', ...which, by: this.volume });
    if (late.ok || late.code !== 'CONFLICT') throw new Error('what was let go is held again');
  }

  /** The generation of a snapshot by its name. */
  generationOf(snapshot: string): number {
    const key = snapshotNameKeyOf(treeShownBy(this.state, this.volume), snapshot);
    const bytes = this.state.get(key);
    if (bytes === undefined) throw new Error('there is no such snapshot');
    return decode<{ g: number }>(bytes).g;
  }

  get nowNs(): bigint {
    return this.pair.nowNs;
  }

  set nowNs(nowNs: bigint) {
    this.pair.nowNs = nowNs;
  }

  #own(operation: Operation): Command {
    const isOfShard = [
      'expire-session',
      'reclaim',
      'chunks-collected',
      'bar-chunks',
      'adopt-base-records',
    ];
    return {
      v: 1,
      session: INTERNAL_SESSION,
      sequence: 1,
      answeredBelow: 0,
      timeNs: this.nowNs,
      volume: isOfShard.includes(operation.op) ? (0 as VolumeNumber) : this.volume,
      operation,
    };
  }

  #apply(operation: Operation): CommandResult {
    return apply(this.state, this.#own(operation));
  }

  /** A command of the cluster itself, that is not refused. */
  #do(operation: Operation): OperationAnswer {
    const made = this.#apply(operation);
    if (!made.ok) throw new Error(`${operation.op} was refused: ${made.code} ${made.message}`);
    return made.answer;
  }

  /** A command of the leader itself. */
  internal(operation: Operation): Promise<CommandResult> {
    return this.#carryOut(this.#own(operation));
  }

  /** Applies a command as a leader does: what it lacks of other shards is asked for, and adopted. */
  async #carryOut(command: Command): Promise<CommandResult> {
    const { pair } = this;
    const here = pair.of(this.shard);
    for (;;) {
      const result = apply(here.state, command);
      if (result.ok || result.code !== 'BASE_MISSING') return result;
      for (const adoption of await planAdoption(here, command)) {
        // Its leader may fall over, and what it proposed come late, twice, or not at all.
        const lot = pair.roll(6);
        if (lot > 0) this.#do(adoption);
        if (lot < 3) here.late.push(adoption);
      }
      this.#disturb();
    }
  }

  /** Something that may happen at any time: another leader, and commands of a former one. */
  #disturb(): void {
    const { pair } = this;
    const here = pair.of(this.shard);
    if (pair.roll(4) === 0) here.memory = new BaseMemory();
    const late = here.late[pair.roll(Math.max(1, here.late.length))];
    if (late !== undefined) this.#do(late);
  }

  /** The background copies a little, in a shard of its choice. */
  async copySome(pick: number, count: number): Promise<void> {
    for (const here of this.pair.all) {
      const step = await this.pair.copyStep(here, pick, count);
      if (step === undefined) continue;
      here.late.push(step);
      apply(here.state, this.#own(step));
    }
    this.#disturb();
  }

  /** The background copies all that is missing anywhere. */
  async copyAll(): Promise<void> {
    for (const here of this.pair.all) {
      while ((await partialShadows(here.state)).length > 0) await this.copySome(0, 7);
    }
  }

  /** Begins a session of a new id. */
  open(): TestSession {
    this.pair.sessions++;
    const id = this.pair.sessions.toString(16).padStart(16, '0') as SessionId;
    const session: TestSession = { id, sequence: 0, sent: [] };
    const command = this.#next(session, { op: 'open-session', host: `host-${id}` });
    session.sent.push({ command, result: apply(this.state, command) });
    return session;
  }

  #next(session: TestSession, operation: Operation): Command {
    session.sequence++;
    const oldest = session.sent.at(-UNCONFIRMED_MAX)?.command.sequence;
    const isOfShard = ['open-session', 'close-session'].includes(operation.op);
    return {
      v: 1,
      session: session.id,
      sequence: session.sequence,
      answeredBelow: oldest ?? 0,
      timeNs: this.nowNs,
      volume: isOfShard ? (0 as VolumeNumber) : this.volume,
      operation,
    };
  }

  /** Sends a new request. */
  async execute(session: TestSession, operation: Operation): Promise<CommandResult> {
    const command = this.#next(session, operation);
    const result = await this.#carryOut(command);
    session.sent.push({ command, result });
    return result;
  }

  /** Sends a request again. */
  repeat(command: Command): Promise<CommandResult> {
    return this.#carryOut(command);
  }

  /** A look of the leader itself. */
  internalView<V extends View>(wanted: V): Promise<ViewAnswers[V['view']]> {
    const { volume, shard } = this;
    const request = { session: INTERNAL_SESSION, volume, view: wanted };
    return viewWithBase(this.pair.of(shard), request);
  }

  /** The volume was rolled back: all sessions are told, and all acknowledge. */
  async rolledBack(sessions: readonly TestSession[]): Promise<void> {
    this.trees.push(treeShownBy(this.state, this.volume));
    for (const session of sessions) {
      const late = await this.execute(session, { op: 'release-orphans', inos: [] });
      if (late.ok || late.code !== 'ROLLED_BACK') throw new Error('a session was not fenced');
      await this.execute(session, { op: 'acknowledge-rollback' });
    }
  }

  /** Keys of kinds [from, to) of a tree. */
  #keys(tree: number, from: number, to: number): Uint8Array[] {
    const prefix = Buffer.of((tree >> 16) & 0xff, (tree >> 8) & 0xff, tree & 0xff);
    const bounds = [from, to].map((kind) => Buffer.concat([prefix, Buffer.of(kind)]));
    return this.state.entries(bounds[0], bounds[1]).map(([key]) => key);
  }

  /** Chunks that the volume has a record of. */
  knownChunks(): Set<string> {
    const known = this.trees.flatMap((tree) => this.#keys(tree, 0x20, 0x21));
    return new Set(known.map((key) => Buffer.from(key).subarray(4).toString('hex')));
  }

  /** Which of some chunks the shard knows, as it answers peers. */
  knownAmong(chunks: readonly ChunkId[]): Promise<ViewAnswers['known-chunks']> {
    const request = { session: INTERNAL_SESSION, volume: 0 as VolumeNumber };
    return viewWithBase(this.pair.of(this.shard), {
      ...request,
      view: { view: 'known-chunks', chunks },
    });
  }

  /** Records below the volume. */
  keyCount(): number {
    return this.trees.reduce((count, tree) => count + this.#keys(tree, 0, 0xff).length, 0);
  }

  /**
   * Records of versions that only snapshots see, lists and tables of them included; of what a rollback
   * has left behind only what is not needed for that which followed.
   */
  historyKeys(): number {
    return this.#keys(treeShownBy(this.state, this.volume), 0x30, 0x40).length;
  }

  /** A look on behalf of a session. */
  view<V extends View>(session: TestSession, wanted: V): Promise<ViewAnswers[V['view']]> {
    const { volume, shard } = this;
    return viewWithBase(this.pair.of(shard), { session: session.id, volume, view: wanted });
  }

  /** Lets the leader delete all garbage, `count` keys at a time. */
  async reclaimAll(count: number): Promise<void> {
    for (let round = 0; round < 10_000; round++) {
      const operation = await planReclaim(this.state, count);
      if (operation === undefined) return;
      await this.internal(operation);
    }
    throw new Error('the garbage never ends');
  }

  /** What is wrong with the state. */
  async problems(): Promise<string[]> {
    const all = await Promise.all(this.pair.all.map(({ state }) => check(state)));
    return all.flat();
  }

  /** The whole state as text, to compare. */
  fingerprint(): string {
    return this.state
      .entries()
      .map(
        ([key, value]) =>
          `${Buffer.from(key).toString('hex')} ${Buffer.from(value).toString('hex')}`,
      )
      .join('\n');
  }
}
