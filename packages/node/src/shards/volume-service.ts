import {
  BaseMemory,
  type LentStateParts,
  type LookAtBase,
  planAdoption,
  viewWithBase,
} from '@holdfast/metadata';
import {
  type ChunkId,
  type Command,
  type CommandResult,
  type ErrorCode,
  encode,
  HoldfastError,
  INTERNAL_SESSION,
  LIMITS,
  type Operation,
  type OperationAnswer,
  ROOT_VOLUME,
  type SessionId,
  type ShardId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { LeaderChange, ShardHost } from '../consensus/shard-host.ts';
import { BaseCopier } from './base-copier.ts';
import { DelegationRecalls } from './delegations.ts';
import { Housekeeping } from './housekeeping.ts';
import { type InlineDestination, InlineMover } from './inline/inline-mover.ts';
import { type SessionChannel, SessionLeases, SWEEP_MS } from './sessions.ts';
import type { VolumeShard } from './shard.ts';

/** Options of {@link VolumeService}. */
export interface VolumeServiceOptions {
  readonly host: Pick<ShardHost, 'propose' | 'readBarrier' | 'leaderOf' | 'isLeader'>;
  readonly deleteChunks: (chunks: readonly ChunkId[]) => Promise<readonly ChunkId[]>;
  /** Looks at snapshots in other shards, of which clones lie in this one. NO_QUORUM when absent. */
  readonly lookAtBase?: LookAtBase;
  /** Where small writes go in the end; they stay in the metadata when absent. */
  readonly inline?: InlineDestination;
  /** Milliseconds on a clock that never goes back. */
  readonly now?: () => number;
  /** Nanoseconds since the epoch. */
  readonly nowNs?: () => bigint;
  readonly leaseMs?: number;
  readonly collectGraceMs?: number;
  /** Milliseconds that a request waits for a delegation to come back. LIMITS.operationWaitMs. */
  readonly recallWaitMs?: number;
}

/** A look as it comes over the wire. */
export interface ViewCall {
  readonly session: SessionId;
  readonly volume: VolumeNumber;
  readonly view: View;
}

/** What the leader of one volume shard does for its clients, and for the shard itself. */
export class VolumeService {
  readonly #shard: VolumeShard;
  readonly #options: VolumeServiceOptions;
  readonly leases: SessionLeases;
  readonly #recalls: DelegationRecalls;
  readonly #housekeeping: Housekeeping;
  readonly #inlineMover: InlineMover | undefined;
  readonly #base: LentStateParts;
  readonly #copier: BaseCopier;
  readonly #now: () => number;
  readonly #nowNs: () => bigint;
  readonly #stopListening: () => void;
  #sweeping: NodeJS.Timeout | undefined;
  #leadership = 0;
  #beginning: Promise<void> = Promise.resolve();

  constructor(shard: VolumeShard, options: VolumeServiceOptions) {
    this.#shard = shard;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#nowNs = options.nowNs ?? (() => BigInt(Date.now()) * 1_000_000n);
    const { state } = shard;
    const { deleteChunks, leaseMs, collectGraceMs } = options;
    this.leases = new SessionLeases({
      shard: shard.shard,
      state,
      now: this.#now,
      expire: (session) => this.#propose({ op: 'expire-session', expired: session }),
      ...(leaseMs !== undefined && { leaseMs }),
    });
    this.#recalls = new DelegationRecalls((session, notice) => this.leases.notify(session, notice));
    this.#housekeeping = new Housekeeping({
      state,
      propose: (operation) => this.#propose(operation),
      deleteChunks,
      nowNs: this.#nowNs,
      ...(collectGraceMs !== undefined && { graceMs: collectGraceMs }),
    });
    this.#inlineMover = this.#moverTo(options.inline);
    const look = toldAsOutage(options.lookAtBase ?? nobody);
    this.#base = { state, memory: new BaseMemory(), look };
    this.#copier = new BaseCopier({
      state,
      look,
      propose: (operation) => this.#propose(operation),
    });
    this.#stopListening = shard.onApplied((command, result) => {
      this.leases.applied(command, result);
      this.#inlineMover?.applied(command, result);
      this.#copier.applied(command, result);
      if (result.ok) this.#recalls.applied(command);
    });
  }

  #moverTo(destination: InlineDestination | undefined): InlineMover | undefined {
    if (destination === undefined) return undefined;
    return new InlineMover({
      ...destination,
      shard: this.#id,
      state: this.#shard.state,
      propose: (operation, volume) => this.#propose(operation, volume),
      deleteChunks: this.#options.deleteChunks,
      now: this.#now,
      nowNs: this.#nowNs,
    });
  }

  get #id(): ShardId {
    return this.#shard.shard;
  }

  /** Leadership came or went. */
  leaderChanged({ isLeader }: LeaderChange): void {
    this.#leadership += 1;
    this.#stopLeading();
    if (isLeader) this.#beginning = this.#beginLeading(this.#leadership);
  }

  async #beginLeading(leadership: number): Promise<void> {
    try {
      await this.#options.host.readBarrier(this.#id);
    } catch {
      // Lost before it was confirmed: another change tells of it, or the next call finds out.
      if (leadership === this.#leadership && this.#options.host.isLeader(this.#id)) {
        setTimeout(() => {
          if (leadership === this.#leadership) this.#beginning = this.#beginLeading(leadership);
        }, SWEEP_MS).unref();
      }
      return;
    }
    if (leadership !== this.#leadership) return;
    this.leases.lead();
    this.#sweeping = setInterval(() => this.leases.sweep(), SWEEP_MS);
    this.#sweeping.unref();
    this.#housekeeping.start();
    this.#inlineMover?.start();
    this.#copier.start();
  }

  #stopLeading(): void {
    clearInterval(this.#sweeping);
    this.leases.resign();
    this.#recalls.release();
    void this.#housekeeping.stop();
    void this.#inlineMover?.stop();
    void this.#copier.stop();
  }

  /** An operation of the shard's own. */
  async #propose(operation: Operation, volume: VolumeNumber = ROOT_VOLUME): Promise<CommandResult> {
    const command = this.#own(operation, volume);
    return this.#pastBase(
      command,
      async () => (await this.#options.host.propose(this.#id, encode(command))) as CommandResult,
    );
  }

  /**
   * Proposes a command until nothing is missing of snapshots in other shards: what is, is asked for and
   * copied. Throws an outage of theirs besides.
   */
  async #pastBase(command: Command, propose: () => Promise<CommandResult>): Promise<CommandResult> {
    for (let tries = 0; tries < ADOPTIONS_MAX; tries++) {
      const result = await propose();
      if (result.ok || result.code !== 'BASE_MISSING') return result;
      for (const adoption of await planAdoption(this.#base, command)) {
        const adopted = await this.#propose(adoption);
        if (!adopted.ok) throw refusalOf(adopted);
      }
    }
    throw new HoldfastError('OVERLOADED', 'the clone is copied too slowly for this change');
  }

  /** A command that no session stands behind. */
  #own(operation: Operation, volume: VolumeNumber): Command {
    return {
      v: 1,
      session: INTERNAL_SESSION,
      sequence: 1,
      answeredBelow: 1,
      timeNs: this.#nowNs(),
      volume,
      operation,
    };
  }

  /**
   * Applies a session's command. Delegations in its way are recalled and waited for. Throws
   * NOT_LEADER, NO_QUORUM, OVERLOADED, ENOSPC, DELEGATED; safe to repeat after any of them.
   */
  async execute(command: Command, signal?: AbortSignal): Promise<CommandResult> {
    const data = encode(command);
    if (data.byteLength > LIMITS.entryBytesMax) {
      throw new HoldfastError('BAD_REQUEST', `a command has at most ${LIMITS.entryBytesMax} bytes`);
    }
    // Else one that changes could wait for ever, while ever more hosts begin to look.
    if (command.operation.op === 'acquire-delegation' && this.#recalls.isWanted(command.volume))
      return { ok: true, answer: { delegation: { granted: false } } };
    return this.#pastDelegation(command.volume, signal, async () => {
      const result = await this.#pastBase(command, () => this.#proposeData(data, signal));
      if (!result.ok && result.code === 'DELEGATED') throw refusalOf(result);
      return result;
    });
  }

  async #proposeData(data: Uint8Array, signal: AbortSignal | undefined): Promise<CommandResult> {
    const { host } = this.#options;
    try {
      // The log keeps the bytes; a second try needs its own.
      const copy = Uint8Array.from(data);
      return (await host.propose(
        this.#id,
        copy,
        signal === undefined ? {} : { signal },
      )) as CommandResult;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'UNKNOWN_OUTCOME') throw error;
      // The new leader knows the outcome: commands carry the number of their request.
      const detail = { leader: host.leaderOf(this.#id), isOutcomeUnknown: true };
      throw new HoldfastError('NOT_LEADER', undefined, { detail, cause: error });
    }
  }

  /** Applies an operation of the cluster's own, which may be repeated. Throws its refusal, or an outage. */
  async run(
    volume: VolumeNumber,
    operation: Operation,
    o: { readonly timeNs?: bigint | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<OperationAnswer> {
    const own = this.#own(operation, volume);
    const command = { ...own, timeNs: o.timeNs ?? own.timeNs };
    const result = await this.execute(command, o.signal);
    if (result.ok) return result.answer;
    throw refusalOf(result);
  }

  /** A linearizable look. Throws the view's refusals, NOT_LEADER, NO_QUORUM, OVERLOADED. */
  async view(call: ViewCall, signal?: AbortSignal): Promise<ViewAnswers[View['view']]> {
    const { host } = this.#options;
    await host.readBarrier(this.#id, signal === undefined ? {} : { signal });
    return viewWithBase(this.#base, call);
  }

  /** A sign of life; answers how long the lease is. Throws SESSION_EXPIRED, NOT_LEADER, NO_QUORUM. */
  async keepalive(session: SessionId, channel: SessionChannel): Promise<{ leaseMs: number }> {
    // A leader that was deposed while it stood still must not prolong what its successor has ended.
    await this.#options.host.readBarrier(this.#id);
    await this.#beginning;
    await this.leases.heard(session, channel);
    return { leaseMs: this.#options.leaseMs ?? LIMITS.sessionLeaseMs };
  }

  async #pastDelegation<T>(
    volume: VolumeNumber,
    signal: AbortSignal | undefined,
    action: () => Promise<T>,
  ): Promise<T> {
    const deadline = this.#now() + (this.#options.recallWaitMs ?? LIMITS.operationWaitMs);
    for (;;) {
      try {
        return await action();
      } catch (error) {
        const isHeld = error instanceof HoldfastError && error.code === 'DELEGATED';
        const waitMs = deadline - this.#now();
        if (!isHeld || waitMs <= 0 || signal?.aborted === true) throw error;
        const holders = error.detail['sessions'] as readonly SessionId[];
        await this.#recalls.wait(volume, holders, { waitMs, signal });
      }
    }
  }

  /** Ends all that the service does by itself. */
  async close(): Promise<void> {
    this.#leadership += 1;
    this.#stopListening();
    this.#stopLeading();
    await this.#housekeeping.stop();
    await this.#inlineMover?.stop();
    await this.#copier.stop();
  }
}

/** Proposals of one command: after the first, what it lacks is there. */
const ADOPTIONS_MAX = 8;

const nobody: LookAtBase = async () => {
  throw new HoldfastError('NO_QUORUM', 'this peer reaches no other shards');
};

/** Who leads another shard, or does not, is of no use to callers of this one: only that it does not answer. */
function toldAsOutage(look: LookAtBase): LookAtBase {
  return async (origin, wanted) => {
    try {
      return await look(origin, wanted);
    } catch (cause) {
      if (!(cause instanceof HoldfastError)) throw cause;
      // Of a look it does not matter what became of it.
      if (cause.kind !== 'outage' && cause.code !== 'UNKNOWN_OUTCOME') throw cause;
      const { shard } = origin;
      const message = `shard ${shard}, which has the snapshot that this clone shows, does not answer`;
      throw new HoldfastError('NO_QUORUM', message, { cause, detail: { shard } });
    }
  };
}

function refusalOf(result: Extract<CommandResult, { ok: false }>): HoldfastError {
  return new HoldfastError(result.code as ErrorCode, result.message, {
    detail: result.detail ?? {},
  });
}
