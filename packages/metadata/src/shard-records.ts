/** Records of a whole shard: sessions, locks, and what waits to be cleaned up. See records.ts. */
import { LIMITS, type SessionId, type ShardId, type VolumeNumber } from '@holdfast/protocol';
import { recordType } from './record-type.ts';

/** Counters of the shard. */
export interface CountersRecord {
  /** Next session's ordinal, >= 1; never used again. */
  readonly nextOrdinal: number;
  /** Sessions that have ended. */
  readonly endedSessions: number;
  /** Next place in the list of freed chunks, >= 1. */
  readonly nextFreed: number;
  /** Next number for a tree of a rollback, above those of volumes; never used again. */
  readonly nextTree: number;
  /** Chunks made before this second that are not known are refused; never falls. */
  readonly barredBefore: number;
}

/** The first number of a tree that is no volume. */
export const FIRST_TREE = LIMITS.volumesMax + 1;

/** {@link CountersRecord} in bytes. */
export const COUNTERS = recordType<CountersRecord>('counters', {
  nextOrdinal: { short: 'o', absent: 1 },
  endedSessions: { short: 'e', absent: 0 },
  nextFreed: { short: 'f', absent: 1 },
  nextTree: { short: 't', absent: FIRST_TREE },
  barredBefore: { short: 'b', absent: 0 },
});

/** The open sessions. */
export interface LiveSessionsRecord {
  /** Ordinals, ascending. */
  readonly ordinals: readonly number[];
}

/** {@link LiveSessionsRecord} in bytes. */
export const LIVE_SESSIONS = recordType<LiveSessionsRecord>('live-sessions', {
  ordinals: { short: 'l', absent: [] },
});

/** A session; an ended one stays for a while, so that its late commands cannot revive it. */
export interface SessionRecord {
  /** Short name inside the shard; 0 when ended. */
  readonly ordinal: number;
  /** Ordinal of the first session of its client, which may have files open since; 0: not known any more. */
  readonly origin: number;
  readonly host: string;
  /** It has received every answer below. */
  readonly answeredBelow: number;
  /** Sequences at or above it whose answers are kept, in the order of their commands. */
  readonly kept: readonly number[];
  readonly ended: boolean;
}

/** {@link SessionRecord} in bytes. */
export const SESSION = recordType<SessionRecord>('session', {
  ordinal: { short: 'o', absent: 0 },
  origin: { short: 'f', absent: 0 },
  host: { short: 'h', absent: '' },
  answeredBelow: { short: 'a', absent: 0 },
  kept: { short: 'k', absent: [] },
  ended: { short: 'e', absent: false },
});

/** A kept answer: the encoded CommandResult. */
export interface AnswerRecord {
  readonly result: Uint8Array;
}

/** {@link AnswerRecord} in bytes. */
export const ANSWER = recordType<AnswerRecord>('answer', { result: { short: 'r' } });

/** An open session's id by its ordinal, or an ended session's id in the ring of those remembered. */
export interface SessionIdRecord {
  readonly session: SessionId;
}

/** {@link SessionIdRecord} in bytes. */
export const SESSION_ID = recordType<SessionIdRecord>('session-id', { session: { short: 's' } });

/** A lock that a session holds. Void once the session has ended. */
export interface HeldLock {
  /** The session's ordinal. */
  readonly holder: number;
  readonly owner: string;
  readonly pid: number;
  readonly type: 'read' | 'write';
  /** Half-open. */
  readonly start: number;
  readonly end: number;
}

/** Locks on one inode. */
export interface LocksRecord {
  readonly posix: readonly HeldLock[];
  readonly flock: readonly HeldLock[];
}

type StoredLock = [number, string, number, 0 | 1, number, number];

const packLocks = (locks: readonly HeldLock[]): StoredLock[] =>
  locks.map((lock) => [
    lock.holder,
    lock.owner,
    lock.pid,
    lock.type === 'write' ? 1 : 0,
    lock.start,
    lock.end,
  ]);

const unpackLocks = (stored: StoredLock[]): HeldLock[] =>
  stored.map(([holder, owner, pid, isWrite, start, end]) => ({
    holder,
    owner,
    pid,
    type: isWrite === 1 ? 'write' : 'read',
    start,
    end,
  }));

/** {@link LocksRecord} in bytes; a lock is [holder, owner, pid, 1 when write, start, end]. */
export const LOCKS = recordType<LocksRecord>('locks', {
  posix: { short: 'p', absent: [], pack: packLocks, unpack: unpackLocks },
  flock: { short: 'f', absent: [], pack: packLocks, unpack: unpackLocks },
});

/** An inode without names. */
export interface OrphanRecord {
  /** Ordinals of the sessions that may still have it open. */
  readonly holders: readonly number[];
}

/** {@link OrphanRecord} in bytes. */
export const ORPHAN = recordType<OrphanRecord>('orphan', { holders: { short: 'h', absent: [] } });

/** A mark in a table whose keys say it all. */
export interface MarkRecord {
  /** Time of the command that made it. */
  readonly timeNs: bigint;
}

/** {@link MarkRecord} in bytes. */
export const MARK = recordType<MarkRecord>('mark', { timeNs: { short: 't' } });

/** A destroyed volume. */
export interface DeadVolumeRecord {
  /** Nothing of it is left but this record. */
  readonly empty: boolean;
}

/** {@link DeadVolumeRecord} in bytes. */
export const DEAD_VOLUME = recordType<DeadVolumeRecord>('dead-volume', {
  empty: { short: 'e', absent: false },
});

/** A tree that a rollback has closed. */
export interface FormerTree {
  readonly tree: VolumeNumber;
  /** The last generation that it had: that of the snapshot which keeps what it was at the end. */
  readonly last: number;
}

/** A client that has acknowledged the last rollback. */
export interface Acknowledgement {
  /** Its origin, or, where that is not known, its session's ordinal. */
  readonly client: number;
  /** The session in which it did, and its sequence: what was sent before is refused. */
  readonly ordinal: number;
  readonly sequence: number;
}

/**
 * The trees of a volume that was rolled back. Generations are counted on from tree to tree: each of
 * them is in one tree only.
 */
export interface TreesRecord {
  /** The one that the volume shows. */
  readonly present: VolumeNumber;
  /** Those that snapshots still need, by the generations they had. */
  readonly former: readonly FormerTree[];
  /** Clients with a lower origin, older than the last rollback, are fenced until they acknowledge. */
  readonly fenced: number;
  readonly acknowledged: readonly Acknowledgement[];
}

/** {@link TreesRecord} in bytes. */
export const TREES = recordType<TreesRecord>('trees', {
  present: { short: 'p' },
  former: {
    short: 'f',
    absent: [],
    pack: (former) => former.map(({ tree, last }) => [tree, last]),
    unpack: (stored: [VolumeNumber, number][]) => stored.map(([tree, last]) => ({ tree, last })),
  },
  fenced: { short: 'n', absent: 0 },
  acknowledged: {
    short: 'a',
    absent: [],
    pack: (all) => all.map(({ client, ordinal, sequence }) => [client, ordinal, sequence]),
    unpack: (stored: [number, number, number][]) =>
      stored.map(([client, ordinal, sequence]) => ({ client, ordinal, sequence })),
  },
});

/** A closed tree whose tables, and heads that no snapshot shows, are not deleted yet. */
export interface ClosedTreeRecord {
  /** Time of the command that made the mark. */
  readonly timeNs: bigint;
  /** The look for heads has come so far; empty: nowhere. */
  readonly after: Uint8Array;
}

/** {@link ClosedTreeRecord} in bytes. */
export const CLOSED_TREE = recordType<ClosedTreeRecord>('closed-tree', {
  timeNs: { short: 't' },
  after: { short: 'a' },
});

/** Where the records of a shadow come from, and which of them are here. */
export interface ShadowRecord {
  readonly shard: ShardId;
  readonly volume: VolumeNumber;
  readonly generation: number;
  /** The clone that holds the snapshot there. */
  readonly holder: VolumeNumber;
  /** The snapshot shows nothing of this number or a higher one. */
  readonly nextInode: number;
  /** All records with lower keys (without the volume) are here; others may be. */
  readonly copied: Uint8Array;
  /** All are. */
  readonly isWhole: boolean;
}

const NOTHING = new Uint8Array();

/** {@link ShadowRecord} in bytes. */
export const SHADOW = recordType<ShadowRecord>('shadow', {
  shard: { short: 's' },
  volume: { short: 'o' },
  generation: { short: 'g' },
  holder: { short: 'h' },
  nextInode: { short: 'i' },
  copied: { short: 'c', absent: NOTHING },
  isWhole: { short: 'w', absent: false },
});
