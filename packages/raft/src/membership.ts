/**
 * Who votes and who listens, and how one membership becomes another. The only way to change voters is
 * joint consensus (Raft paper section 6): while `votersOutgoing` is not empty, elections and commitment
 * need a majority of the new and a majority of the old voters. A membership takes effect when its entry
 * is appended, not when it is committed, and is rolled back when the entry is truncated.
 */
import { HoldfastError } from '@holdfast/protocol';
import { assert } from './assert.ts';
import type { LogIndex, ReplicaId } from './storage.ts';

/** All lists ascend without repeats. */
export interface Membership {
  readonly voters: readonly ReplicaId[];
  /** Not empty: joint, and these are the voters of before. */
  readonly votersOutgoing: readonly ReplicaId[];
  /** Receive the log, count for nothing. Never a voter of either half. */
  readonly learners: readonly ReplicaId[];
  /** Outgoing voters that become learners when the joint membership is left. */
  readonly learnersNext: readonly ReplicaId[];
}

/** What a change asks for: the whole membership after it. */
export interface MembershipTarget {
  readonly voters: readonly ReplicaId[];
  readonly learners: readonly ReplicaId[];
}

/** Nobody: a replica that waits to be told by a leader. */
export const EMPTY_MEMBERSHIP: Membership = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
};

/** A membership that is not joint. */
export function membershipOf(
  voters: readonly ReplicaId[],
  learners: readonly ReplicaId[] = [],
): Membership {
  return { ...EMPTY_MEMBERSHIP, voters: ascending(voters), learners: ascending(learners) };
}

/** True while two majorities are needed. */
export function isJoint(membership: Membership): boolean {
  return membership.votersOutgoing.length > 0;
}

/** True for a voter of either half. */
export function isVoter(membership: Membership, id: ReplicaId): boolean {
  return membership.voters.includes(id) || membership.votersOutgoing.includes(id);
}

/** Voters of both halves, ascending, each once. */
export function votersOf(membership: Membership): ReplicaId[] {
  return ascending([...membership.voters, ...membership.votersOutgoing]);
}

/** Everyone who receives the log, ascending, each once. */
export function membersOf(membership: Membership): ReplicaId[] {
  return ascending([...votersOf(membership), ...membership.learners]);
}

/** Why `target` cannot be a membership; undefined when it can. */
export function faultOf(target: MembershipTarget): string | undefined {
  const ids = [...target.voters, ...target.learners];
  if (target.voters.length === 0) return 'at least one voter is needed';
  if (ids.some((id) => !Number.isSafeInteger(id) || id <= 0)) return 'ids are positive integers';
  if (new Set(ids).size !== ids.length) return 'an id is named twice';
  return undefined;
}

/**
 * The membership to append on the way to `target`: joint when the voters differ, final when only
 * learners do (they are in no quorum). `current` must not be joint.
 */
export function toward(current: Membership, target: MembershipTarget): Membership {
  assert(!isJoint(current), 'a membership change starts from a joint membership');
  assert(faultOf(target) === undefined, 'a membership target is not valid');
  const wanted = membershipOf(target.voters, target.learners);
  if (sameIds(current.voters, wanted.voters)) return wanted;
  const isOutgoing = (id: ReplicaId) => current.voters.includes(id);
  return {
    voters: wanted.voters,
    votersOutgoing: current.voters,
    learners: wanted.learners.filter((id) => !isOutgoing(id)),
    learnersNext: wanted.learners.filter(isOutgoing),
  };
}

/** The second half of a change: the incoming voters alone. */
export function leaveJoint(joint: Membership): Membership {
  assert(isJoint(joint), 'only a joint membership can be left');
  return membershipOf(joint.voters, [...joint.learners, ...joint.learnersNext]);
}

/** True when both name the same replicas in the same parts. */
export function sameMembership(a: Membership, b: Membership): boolean {
  return (
    sameIds(a.voters, b.voters) &&
    sameIds(a.votersOutgoing, b.votersOutgoing) &&
    sameIds(a.learners, b.learners) &&
    sameIds(a.learnersNext, b.learnersNext)
  );
}

/** Bytes of a membership entry: UTF-8 JSON `[version, voters, outgoing, learners, learnersNext]`. */
export function encodeMembership(membership: Membership): Uint8Array {
  const { voters, votersOutgoing, learners, learnersNext } = membership;
  return new TextEncoder().encode(
    JSON.stringify([1, voters, votersOutgoing, learners, learnersNext]),
  );
}

/** Inverse of {@link encodeMembership}. Throws CORRUPT, or NEWER_FORMAT for a version not known. */
export function decodeMembership(data: Uint8Array): Membership {
  const [version, ...lists] = parseLists(data);
  if (version !== 1) {
    throw new HoldfastError('NEWER_FORMAT', `membership entry of version ${String(version)}`);
  }
  const valid = lists.length === 4 && lists.every(isIdList);
  if (!valid) throw new HoldfastError('CORRUPT', 'membership entry: wrong lists');
  const [voters, votersOutgoing, learners, learnersNext] = lists as [
    ReplicaId[],
    ReplicaId[],
    ReplicaId[],
    ReplicaId[],
  ];
  return { voters, votersOutgoing, learners, learnersNext };
}

function parseLists(data: Uint8Array): unknown[] {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
    if (Array.isArray(parsed)) return parsed;
  } catch (cause) {
    throw new HoldfastError('CORRUPT', 'membership entry: not JSON', { cause });
  }
  throw new HoldfastError('CORRUPT', 'membership entry: not a list');
}

function isIdList(value: unknown): value is ReplicaId[] {
  return (
    Array.isArray(value) &&
    value.every((id, i) => Number.isSafeInteger(id) && id > 0 && (i === 0 || id > value[i - 1]))
  );
}

function ascending(ids: readonly ReplicaId[]): ReplicaId[] {
  return [...new Set(ids)].sort((a, b) => a - b);
}

function sameIds(a: readonly ReplicaId[], b: readonly ReplicaId[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

interface MembershipRecord {
  readonly index: LogIndex;
  readonly membership: Membership;
}

/** The memberships along the log; the newest is in force. */
export class MembershipHistory {
  #records: MembershipRecord[];

  /** `base` is in force at `index` and below, as far as anyone may ask. */
  constructor(index: LogIndex, base: Membership) {
    this.#records = [{ index, membership: base }];
  }

  /** In force now. */
  get latest(): Membership {
    return this.#last().membership;
  }

  /** Index of the entry that brought the latest membership. */
  get latestIndex(): LogIndex {
    return this.#last().index;
  }

  /** The one that `latest` replaced, if the log still knows. */
  get previous(): Membership | undefined {
    return this.#records.at(-2)?.membership;
  }

  /** In force when the entry at `index` was the last of the log. */
  at(index: LogIndex): Membership {
    const record = this.#records.findLast((candidate) => candidate.index <= index);
    return (record ?? this.#records[0]!).membership;
  }

  /** A membership entry was appended at `index`; what lies at `index` or above must have been cut. */
  append(index: LogIndex, membership: Membership): void {
    assert(index > this.latestIndex, 'memberships are appended in order', { index });
    this.#records.push({ index, membership });
  }

  /** Entries from `index` on were truncated. */
  cut(index: LogIndex): void {
    while (this.#records.length > 1 && this.latestIndex >= index) this.#records.pop();
  }

  /** Nobody will ask below `index` any more (it was compacted). */
  forgetBelow(index: LogIndex): void {
    while (this.#records.length > 1 && this.#records[1]!.index <= index) this.#records.shift();
  }

  /** A snapshot replaced the log. */
  reset(index: LogIndex, membership: Membership): void {
    this.#records = [{ index, membership }];
  }

  #last(): MembershipRecord {
    return this.#records.at(-1)!;
  }
}
