import { openSessions, orphansToAnnounce, type StateSource } from '@holdfast/metadata';
import {
  type Command,
  type CommandResult,
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type SessionId,
  type SessionNotice,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';

/** The connection on which a session was heard last. */
export interface SessionChannel {
  notify(method: string, header: unknown): void;
}

/** Name of the notices on the wire; their header is {@link SessionNoticeHeader}. */
const SESSION_NOTICE = 'session.notice';

/** What goes over the wire for a notice. */
export interface SessionNoticeHeader {
  readonly shard: ShardId;
  readonly session: SessionId;
  readonly notice: SessionNotice;
}

interface Lease {
  /** On the leader's clock, milliseconds. */
  heardAt: number;
  channel: SessionChannel | undefined;
  isExpiring: boolean;
}

/** Options of {@link SessionLeases}. */
export interface SessionLeasesOptions {
  readonly shard: ShardId;
  readonly state: StateSource;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** Proposes expire-session for a session that was silent too long. */
  readonly expire: (session: SessionId) => Promise<unknown>;
  readonly leaseMs?: number;
}

/** Milliseconds between two looks at the leases; a longer gap means that this process stood still. */
export const SWEEP_MS = 500;

/**
 * The leader's view of who is alive, in memory only: a new leader knows nothing of its predecessor's,
 * and grants every open session a full lease from its first day.
 */
export class SessionLeases {
  readonly #options: SessionLeasesOptions;
  readonly #leaseMs: number;
  #leases = new Map<SessionId, Lease>();
  #loading: Promise<void> | undefined;
  /** Ended while the open ones were being looked up. */
  readonly #endedMeanwhile = new Set<SessionId>();
  #sweptAt = 0;

  constructor(options: SessionLeasesOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? LIMITS.sessionLeaseMs;
  }

  /** Sessions that are open, as far as this leader knows. */
  get count(): number {
    return this.#leases.size;
  }

  /** Leadership begins; the state shows all that was acknowledged before. */
  lead(): void {
    this.resign();
    this.#sweptAt = this.#options.now();
    this.#loading = this.#load();
    this.#loading.catch(() => {});
  }

  async #load(): Promise<void> {
    const leases = this.#leases;
    const open = await openSessions(this.#options.state);
    for (const { session } of open) {
      if (!this.#endedMeanwhile.has(session) && !leases.has(session)) {
        leases.set(session, this.#fresh());
      }
    }
    this.#endedMeanwhile.clear();
  }

  #fresh(): Lease {
    return { heardAt: this.#options.now(), channel: undefined, isExpiring: false };
  }

  /** Leadership is over: nobody is judged here any more. */
  resign(): void {
    this.#leases = new Map();
    this.#endedMeanwhile.clear();
    this.#loading = undefined;
  }

  /**
   * A sign of life, to be answered only by a leader that has just been confirmed. Notices go to this
   * channel from now on. Throws SESSION_EXPIRED, NOT_LEADER.
   */
  async heard(session: SessionId, channel: SessionChannel): Promise<void> {
    if (this.#loading === undefined) throw new HoldfastError('NOT_LEADER');
    await this.#loading;
    const lease = this.#leases.get(session);
    if (lease === undefined) throw new HoldfastError('SESSION_EXPIRED');
    lease.heardAt = this.#options.now();
    if (lease.channel === channel) return;
    lease.channel = channel;
    await this.#announceOrphans(session);
  }

  /** The connection is gone; the lease runs on. */
  left(channel: SessionChannel): void {
    for (const lease of this.#leases.values()) {
      if (lease.channel === channel) lease.channel = undefined;
    }
  }

  async #announceOrphans(session: SessionId): Promise<void> {
    const byVolume = new Map<VolumeNumber, InodeNumber[]>();
    for (const { volume, ino } of await orphansToAnnounce(this.#options.state, session)) {
      const inos = byVolume.get(volume) ?? [];
      byVolume.set(volume, inos);
      inos.push(ino);
    }
    for (const [volume, inos] of byVolume)
      this.notify(session, { notice: 'orphans', volume, inos });
  }

  /** Tells a session something; lost when it is not connected. */
  notify(session: SessionId, notice: SessionNotice): void {
    const header: SessionNoticeHeader = { shard: this.#options.shard, session, notice };
    this.#leases.get(session)?.channel?.notify(SESSION_NOTICE, header);
  }

  /** Keeps up with what was applied. */
  applied(command: Command, result: CommandResult): void {
    if (this.#loading === undefined || !result.ok) return;
    const { operation, session, volume } = command;
    if (operation.op === 'open-session' && !this.#leases.has(session)) {
      this.#leases.set(session, this.#fresh());
    }
    if (operation.op === 'close-session') this.#ended(session);
    if (operation.op === 'expire-session') {
      this.notify(operation.expired, { notice: 'expired' });
      this.#ended(operation.expired);
    }
    const { orphan } = result.answer;
    if (orphan === undefined) return;
    // The session that removed the last name learns it from its answer.
    for (const other of this.#leases.keys()) {
      if (other !== session) this.notify(other, { notice: 'orphans', volume, inos: [orphan] });
    }
  }

  #ended(session: SessionId): void {
    this.#leases.delete(session);
    this.#endedMeanwhile.add(session);
  }

  /** Ends the sessions that were silent too long. Called every SWEEP_MS. */
  sweep(): void {
    const now = this.#options.now();
    // What was sent while this process stood still is not read yet: silence was not theirs.
    const stoodStillMs = Math.max(0, now - this.#sweptAt - 2 * SWEEP_MS);
    this.#sweptAt = now;
    for (const [session, lease] of this.#leases) {
      lease.heardAt += stoodStillMs;
      if (lease.isExpiring || now - lease.heardAt <= this.#leaseMs) continue;
      lease.isExpiring = true;
      this.#options.expire(session).then(
        () => {},
        () => {
          lease.isExpiring = false;
        },
      );
    }
  }
}
