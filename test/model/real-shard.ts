/** The state machine under test, with sessions that number their requests and repeat them. */
import { apply, check, MemoryState, planReclaim, treeShownBy, view } from '@holdfast/metadata';
import {
  type Command,
  type CommandResult,
  INTERNAL_SESSION,
  type Operation,
  type SessionId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';

/** Answers that a session leaves unconfirmed, so that their requests can be repeated. */
const UNCONFIRMED_MAX = 4;

/** What a clone is made of. */
export interface CloneBase {
  readonly real: RealShard;
  readonly snapshot: string;
}

/** A session of the test. */
export interface TestSession {
  readonly id: SessionId;
  sequence: number;
  /** The last requests and their results. */
  readonly sent: { readonly command: Command; readonly result: CommandResult }[];
}

const FIRST_VOLUME = 7 as VolumeNumber;

/** A shard as one of its volumes sees it. */
export class RealShard {
  readonly state: MemoryState;
  readonly volume: VolumeNumber;
  /** Under whose numbers records of the volume may lie: its own, and one for each rollback. */
  readonly trees: VolumeNumber[] = [];
  /** Of all volumes of the shard. */
  readonly #shared: { nowNs: bigint; sessions: number; volumes: number };

  /** A shard with one volume, or a clone of a volume's snapshot. */
  constructor(quotaBytes: number, quotaInodes: number, base?: CloneBase) {
    if (base !== undefined) {
      this.state = base.real.state;
      this.#shared = base.real.#shared;
      this.volume = (FIRST_VOLUME + this.#shared.volumes++) as VolumeNumber;
      const { snapshot } = base;
      const from = base.real.volume;
      const bounds = { quotaBytes, quotaInodes };
      const made = this.internal({ op: 'clone-volume', name: 'c', from, snapshot, ...bounds });
      if (!made.ok) throw new Error(`the clone was refused: ${made.code}`);
      this.trees.push(this.volume);
      return;
    }
    this.state = new MemoryState();
    this.#shared = { nowNs: 1_000n, sessions: 0, volumes: 1 };
    this.volume = FIRST_VOLUME;
    this.trees.push(this.volume);
    const owner = { mode: 0o755, uid: 0, gid: 0 };
    this.internal({ op: 'init-volume', name: 'v', ...owner, quotaBytes, quotaInodes });
  }

  get nowNs(): bigint {
    return this.#shared.nowNs;
  }

  set nowNs(nowNs: bigint) {
    this.#shared.nowNs = nowNs;
  }

  /** A command of the leader itself. */
  internal(operation: Operation): CommandResult {
    const isOfShard = ['expire-session', 'reclaim', 'chunks-collected'].includes(operation.op);
    return apply(this.state, {
      v: 1,
      session: INTERNAL_SESSION,
      sequence: 1,
      answeredBelow: 0,
      timeNs: this.nowNs,
      volume: isOfShard ? (0 as VolumeNumber) : this.volume,
      operation,
    });
  }

  /** Begins a session of a new id. */
  open(): TestSession {
    this.#shared.sessions++;
    const id = this.#shared.sessions.toString(16).padStart(16, '0') as SessionId;
    const session: TestSession = { id, sequence: 0, sent: [] };
    this.execute(session, { op: 'open-session', host: `host-${id}` });
    return session;
  }

  /** Sends a new request. */
  execute(session: TestSession, operation: Operation): CommandResult {
    session.sequence++;
    const oldest = session.sent.at(-UNCONFIRMED_MAX)?.command.sequence;
    const isOfShard = ['open-session', 'close-session'].includes(operation.op);
    const command: Command = {
      v: 1,
      session: session.id,
      sequence: session.sequence,
      answeredBelow: oldest ?? 0,
      timeNs: this.nowNs,
      volume: isOfShard ? (0 as VolumeNumber) : this.volume,
      operation,
    };
    const result = apply(this.state, command);
    session.sent.push({ command, result });
    return result;
  }

  /** Sends a request again. */
  repeat(command: Command): CommandResult {
    return apply(this.state, command);
  }

  /** A look of the leader itself. */
  internalView<V extends View>(wanted: V): Promise<ViewAnswers[V['view']]> {
    return view(this.state, { session: INTERNAL_SESSION, volume: this.volume, view: wanted });
  }

  /** The volume was rolled back: all sessions are told, and all acknowledge. */
  rolledBack(sessions: readonly TestSession[]): void {
    this.trees.push(treeShownBy(this.state, this.volume));
    for (const session of sessions) {
      const late = this.execute(session, { op: 'release-orphans', inos: [] });
      if (late.ok || late.code !== 'ROLLED_BACK') throw new Error('a session was not fenced');
      this.execute(session, { op: 'acknowledge-rollback' });
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
    return view(this.state, { session: session.id, volume: this.volume, view: wanted });
  }

  /** Lets the leader delete all garbage, `count` keys at a time. */
  async reclaimAll(count: number): Promise<void> {
    for (let round = 0; round < 10_000; round++) {
      const operation = await planReclaim(this.state, count);
      if (operation === undefined) return;
      this.internal(operation);
    }
    throw new Error('the garbage never ends');
  }

  /** What is wrong with the state. */
  problems(): Promise<string[]> {
    return check(this.state);
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
