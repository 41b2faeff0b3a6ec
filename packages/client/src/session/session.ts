import { randomBytes } from 'node:crypto';
import {
  type Command,
  type CommandResult,
  fromWireError,
  HoldfastError,
  LIMITS,
  type Operation,
  type OperationAnswer,
  type RequestContext,
  ROOT_VOLUME,
  type SessionId,
  type SessionNotice,
  type ShardId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { Cluster } from '../cluster/cluster.ts';
import { type RequestJournal, SEQUENCES_PER_REQUEST } from './journal.ts';
import { Rollbacks } from './rollbacks.ts';

/** A volume's metadata has an address: its shard and its number. */
export interface VolumeAddress {
  readonly shard: ShardId;
  readonly volume: VolumeNumber;
}

/** Listener for what shards tell the session. */
export type NoticeListener = (shard: ShardId, notice: SessionNotice) => void;

/** One shard's part in the session. */
interface ShardLease {
  opened: Promise<void> | undefined;
  timer: NodeJS.Timeout | undefined;
  /** When the last sign of life that was answered had been sent (performance.now). */
  confirmedAtMs: number;
}

/** Options of {@link Session}. */
export interface SessionOptions {
  readonly cluster: Pick<Cluster, 'callLeader'>;
  readonly journal: RequestJournal;
  readonly host: string;
  readonly onNotice: NoticeListener;
  /** The session was fenced: locks and open-unlinked files of the old one are gone. */
  readonly onExpired: () => void;
  /** A volume was rolled back: makes void what is open there, drops what is believed of it. */
  readonly onRolledBack: (volume: VolumeNumber) => Promise<void>;
  /** Nanoseconds since the epoch. */
  readonly nowNs: () => bigint;
}

/** How {@link Session.execute} does it. */
export interface ExecuteOptions {
  /** Numbers the operations of one request (0 … 7); the same when the request is repeated. */
  readonly index?: number;
  /** Not to be sent once the volume's era is another one: see {@link Session.era}. */
  readonly era?: number;
}

/**
 * The client's lease with the shards it uses. Commands are numbered, retried until answered and
 * exactly-once; views are linearizable. A fenced session is replaced by a new one, and commands
 * whose effect is then unknown fail with UNKNOWN_OUTCOME.
 */
export class Session {
  readonly #options: SessionOptions;
  readonly #leases = new Map<ShardId, ShardLease>();
  readonly #rollbacks: Rollbacks;
  /** Of each volume that was rolled back, its shard. */
  readonly #shards = new Map<VolumeNumber, ShardId>();
  #id: SessionId;
  #internalRequest = -1;
  #closed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#id = options.journal.session ?? newSessionId();
    if (options.journal.session === undefined) options.journal.begin(this.#id);
    this.#rollbacks = new Rollbacks({
      forget: (volume) => options.onRolledBack(volume),
      acknowledge: async (volume) => {
        const shard = this.#shards.get(volume) as ShardId;
        const operation = { op: 'acknowledge-rollback' } as const;
        await this.execute({ shard, volume }, operation, this.internalContext());
      },
    });
  }

  get id(): SessionId {
    return this.#id;
  }

  /** A context for the client's own requests, which no kernel request stands behind. */
  internalContext(): RequestContext {
    return { uid: 0, gid: 0, pid: 0, requestId: this.#internalRequest-- };
  }

  /** Grows with each rollback of a volume that is noticed: what was opened in another era is void. */
  era(volume: VolumeNumber): number {
    return this.#rollbacks.era(volume);
  }

  /** Applies one operation exactly once. Throws the state machine's refusals. */
  async execute(
    address: VolumeAddress,
    operation: Operation,
    context: RequestContext,
    { index = 0, era }: ExecuteOptions = {},
  ): Promise<OperationAnswer> {
    if (index >= SEQUENCES_PER_REQUEST)
      throw new HoldfastError('INTERNAL', 'too many operations in one request');
    const { journal } = this.#options;
    const request = context.requestId === 0 ? this.internalContext().requestId : context.requestId;
    // An earlier process may have had it executed, which only the session of then can tell.
    let isUnknown = journal.isInherited(request);
    try {
      for (;;) {
        const outcome = await this.#executeOnce(address, operation, {
          ...context,
          request,
          index,
          era,
        });
        if ('answer' in outcome) return outcome.answer;
        isUnknown ||= outcome.isUnknown;
        if (isUnknown) {
          throw new HoldfastError(
            'UNKNOWN_OUTCOME',
            'the session was fenced while the change was under way',
          );
        }
      }
    } finally {
      if (request < 0) journal.done(request);
    }
  }

  /** The answer of a request has left; see {@link FileSystem.answered}. */
  answered(requestId: number): void {
    if (!this.#closed) this.#options.journal.done(requestId);
  }

  /** Of the requests of an earlier process only these will be repeated; see {@link FileSystem.resumed}. */
  resumed(isUnderWay: (requestId: number) => boolean): void {
    if (!this.#closed) this.#options.journal.resumed(isUnderWay);
  }

  /** Sends one command; fenced: it was not executed, or, when `isUnknown`, perhaps it was. */
  async #executeOnce(
    address: VolumeAddress,
    operation: Operation,
    {
      request,
      index,
      era,
      signal,
    }: {
      request: number;
      index: number;
      era: number | undefined;
      signal?: AbortSignal | undefined;
    },
  ): Promise<{ answer: OperationAnswer } | { isUnknown: boolean }> {
    if (!(await this.#isOpen(address.shard))) return { isUnknown: false };
    const { journal, cluster, nowNs } = this.#options;
    const session = this.#id;
    const command: Command = {
      v: 1,
      session,
      // Asked for again after fencing: the new session has a book of its own.
      sequence: journal.reserve(request) + index,
      answeredBelow: journal.answeredBelow(),
      timeNs: nowNs(),
      volume: address.volume,
      operation,
    };
    if (signal?.aborted === true) throw new HoldfastError('EINTR');
    const { volume } = address;
    // From here on it has its number: after an acknowledgement that is yet to come it is refused.
    if (era !== undefined && era !== this.era(volume)) throw new HoldfastError('ROLLED_BACK');
    const acknowledged = this.#rollbacks.acknowledged(volume);
    // Once sent, a command is followed to its end: an interrupt could not take it back.
    const { header, retried } = await cluster.callLeader<CommandResult>(
      address.shard,
      'meta.execute',
      { shard: address.shard, command },
    );
    if (header.ok) return { answer: header.answer };
    const { code, message = code, detail } = header;
    const refusal = fromWireError({ code, message, ...(detail === undefined ? {} : { detail }) });
    if (refusal.code === 'ROLLED_BACK') await this.#rolledBack(address, acknowledged);
    if (refusal.code !== 'SESSION_EXPIRED') throw refusal;
    this.#fenced(session);
    return { isUnknown: retried };
  }

  /** A linearizable look at a volume. Throws the view's refusals; outages after the bounded wait. */
  async view<V extends View>(
    address: VolumeAddress,
    view: V,
    signal?: AbortSignal,
  ): Promise<ViewAnswers[V['view']]> {
    for (;;) {
      if (!(await this.#isOpen(address.shard))) continue;
      const session = this.#id;
      const acknowledged = this.#rollbacks.acknowledged(address.volume);
      try {
        const { header } = await this.#options.cluster.callLeader<ViewAnswers[V['view']]>(
          address.shard,
          'meta.view',
          { shard: address.shard, session, volume: address.volume, view },
          signal,
        );
        return header;
      } catch (error) {
        const code = error instanceof HoldfastError ? error.code : undefined;
        // A look changes nothing: it may be had again, and shows what is there now.
        if (code === 'ROLLED_BACK') await this.#rolledBack(address, acknowledged);
        else if (code === 'SESSION_EXPIRED') this.#fenced(session);
        else throw error;
      }
    }
  }

  async #rolledBack({ shard, volume }: VolumeAddress, acknowledged: number): Promise<void> {
    this.#shards.set(volume, shard);
    await this.#rollbacks.refused(volume, acknowledged);
  }

  /** Makes the session known to a shard; false: it was found to have ended, and a new one has begun. */
  async #isOpen(shard: ShardId): Promise<boolean> {
    if (this.#closed) throw new HoldfastError('SHUTTING_DOWN');
    let lease = this.#leases.get(shard);
    if (lease === undefined) {
      lease = { opened: undefined, timer: undefined, confirmedAtMs: Number.NEGATIVE_INFINITY };
      this.#leases.set(shard, lease);
    }
    const current = lease;
    const session = this.#id;
    current.opened ??= this.#openShard(shard, current).catch((error: unknown) => {
      current.opened = undefined;
      throw error;
    });
    try {
      await current.opened;
      return session === this.#id;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'SESSION_EXPIRED') throw error;
      this.#fenced(session);
      return false;
    }
  }

  async #openShard(shard: ShardId, lease: ShardLease): Promise<void> {
    const { cluster, journal, host, nowNs } = this.#options;
    const context = this.internalContext();
    const sequence = journal.reserve(context.requestId);
    try {
      const command: Command = {
        v: 1,
        session: this.#id,
        sequence,
        answeredBelow: journal.answeredBelow(),
        timeNs: nowNs(),
        volume: ROOT_VOLUME,
        operation: { op: 'open-session', host, origin: journal.origin ?? this.#id },
      };
      const { header } = await cluster.callLeader<CommandResult>(shard, 'meta.execute', {
        shard,
        command,
      });
      if (!header.ok)
        throw fromWireError({ code: header.code, message: header.message ?? header.code });
    } finally {
      journal.done(context.requestId);
    }
    await this.#keepalive(shard, this.#id);
    this.#schedule(shard, lease);
  }

  #schedule(shard: ShardId, lease: ShardLease): void {
    if (this.#closed) return;
    lease.timer = setTimeout(() => {
      void this.#keepalive(shard, this.#id).finally(() => this.#schedule(shard, lease));
    }, LIMITS.sessionKeepaliveMs);
    lease.timer.unref();
  }

  /** One sign of life; outages are left to the next one, a verdict is obeyed. */
  async #keepalive(shard: ShardId, session: SessionId): Promise<void> {
    const signal = AbortSignal.timeout(LIMITS.sessionTrustMs / 2);
    const sentAtMs = performance.now();
    try {
      await this.#options.cluster.callLeader(shard, 'meta.keepalive', { shard, session }, signal);
      const lease = this.#leases.get(shard);
      // Counted from before the first try: the shard heard us then or later.
      if (lease !== undefined && session === this.#id) lease.confirmedAtMs = sentAtMs;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'SESSION_EXPIRED') this.#fenced(session);
    }
  }

  /** Until when (performance.now) the shard cannot have ended the session. */
  trustedUntilMs(shard: ShardId): number {
    const lease = this.#leases.get(shard);
    return (lease?.confirmedAtMs ?? Number.NEGATIVE_INFINITY) + LIMITS.sessionTrustMs;
  }

  #fenced(session: SessionId): void {
    if (session !== this.#id) return; // someone else noticed first
    this.#id = newSessionId();
    this.#options.journal.begin(this.#id);
    for (const lease of this.#leases.values()) clearTimeout(lease.timer);
    this.#leases.clear();
    this.#options.onExpired();
  }

  /** Handles a notice that came on a connection. */
  notice(header: { shard: ShardId; session: SessionId; notice: SessionNotice }): void {
    if (header.session !== this.#id) return;
    if (header.notice.notice === 'expired') this.#fenced(header.session);
    else this.#options.onNotice(header.shard, header.notice);
  }

  /** Ends the session with every shard, as far as they can be reached; locks and orphans go with it. */
  async close(): Promise<void> {
    const shards = [...this.#leases.keys()];
    await Promise.allSettled(
      shards.map((shard) =>
        this.execute(
          { shard, volume: ROOT_VOLUME },
          { op: 'close-session' },
          this.internalContext(),
        ),
      ),
    );
    this.#closed = true;
    for (const lease of this.#leases.values()) clearTimeout(lease.timer);
    this.#options.journal.close();
  }

  /** Stops without a word to the shards: the session lives on for whoever continues the journal. */
  abandon(): void {
    this.#closed = true;
    for (const lease of this.#leases.values()) clearTimeout(lease.timer);
    this.#options.journal.close();
  }
}

function newSessionId(): SessionId {
  return randomBytes(8).toString('hex') as SessionId;
}
