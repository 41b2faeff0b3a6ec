/** One follower as its leader sees it: what it holds, what is on the way, what may be sent next. */
import { assert } from './assert.ts';
import type { LogIndex, ReplicaId } from './storage.ts';

/**
 * probe: where the logs agree is not known; one message at a time.
 * replicate: known; many messages on the way, `next` runs ahead of `match`.
 * snapshot: a snapshot is on the way; no entries until it has arrived or failed.
 */
export type ProgressState = 'probe' | 'replicate' | 'snapshot';

/** Most that may be on the way to one follower. */
export interface WindowLimits {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

interface Flight {
  readonly lastIndex: LogIndex;
  readonly bytes: number;
}

/** Appends on the way to one follower, oldest first. */
export class Window {
  readonly #limits: WindowLimits;
  #flights: Flight[] = [];
  #bytes = 0;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#flights.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    const { messagesMax, bytesMax } = this.#limits;
    return this.#flights.length >= messagesMax || this.#bytes >= bytesMax;
  }

  add(lastIndex: LogIndex, bytes: number): void {
    this.#flights.push({ lastIndex, bytes });
    this.#bytes += bytes;
  }

  /** The follower has everything up to `index`. */
  freeTo(index: LogIndex): void {
    let freed = 0;
    while (freed < this.#flights.length && this.#flights[freed]!.lastIndex <= index) {
      this.#bytes -= this.#flights[freed]!.bytes;
      freed += 1;
    }
    if (freed > 0) this.#flights.splice(0, freed);
  }

  clear(): void {
    this.#flights = [];
    this.#bytes = 0;
  }
}

export class Progress {
  readonly id: ReplicaId;
  readonly window: Window;
  state: ProgressState = 'probe';
  /** Everything up to here is durable on the follower and equals the leader's log. */
  match: LogIndex = 0;
  /** First index of the next append. */
  next: LogIndex;
  /** In `snapshot`: index of the snapshot on the way, else 0. */
  pendingSnapshot: LogIndex = 0;
  /** Heard from since the last check of the quorum. */
  isActive = false;
  /** Highest heartbeat round answered in this leadership. */
  roundAcked = 0;
  /** Probe sent, or no use in sending: wait for an answer or for the next heartbeat's answer. */
  isPaused = false;
  /** Send an append, empty if need be: the answer tells whether something on the way was lost. */
  isNudged = false;
  #matchAtHeartbeat: LogIndex = 0;

  constructor(id: ReplicaId, next: LogIndex, limits: WindowLimits) {
    this.id = id;
    this.next = next;
    this.window = new Window(limits);
  }

  /** May an append be sent, when the log ends at `lastIndex`? */
  maySend(lastIndex: LogIndex): boolean {
    if (this.state === 'snapshot' || this.isPaused) return false;
    if (this.isNudged) return true;
    // A probe asks where the logs agree, also when there is nothing more to send.
    if (this.state === 'probe') return this.match < lastIndex;
    return this.next <= lastIndex && !this.window.isFull;
  }

  /** An append with entries up to `lastIndex` (none: `next - 1`) was sent. */
  sent(lastIndex: LogIndex, bytes: number): void {
    this.isNudged = false;
    if (this.state === 'probe') {
      this.isPaused = true;
      return;
    }
    if (lastIndex < this.next) return;
    this.window.add(lastIndex, bytes);
    this.next = lastIndex + 1;
  }

  /** The follower holds all up to `index`. True when that is news. */
  acknowledge(index: LogIndex): boolean {
    this.next = Math.max(this.next, index + 1);
    this.window.freeTo(index);
    if (index <= this.match) return false;
    this.match = index;
    return true;
  }

  /**
   * The follower lacks `rejected`, or has another term there; the logs can agree at `hint` at best.
   * False when the answer is old.
   */
  reject(rejected: LogIndex, hint: LogIndex): boolean {
    if (this.state === 'snapshot' || rejected <= this.match) return false;
    if (this.state === 'probe' && rejected !== this.next - 1) return false;
    this.becomeProbe(Math.max(Math.min(rejected, hint + 1), this.match + 1));
    this.isNudged = true;
    return true;
  }

  /** Something sent may have been lost. */
  unreachable(): void {
    if (this.state === 'replicate') this.becomeProbe(this.match + 1);
  }

  /** A heartbeat was answered: go on, and if nothing moves find out whether appends were lost. */
  heard(lastIndex: LogIndex): void {
    this.isActive = true;
    this.isPaused = false;
    if (this.state === 'replicate') {
      const isStuck = this.match === this.#matchAtHeartbeat && this.match < lastIndex;
      if (isStuck && (this.next > lastIndex || this.window.isFull)) this.isNudged = true;
    }
    this.#matchAtHeartbeat = this.match;
  }

  becomeProbe(next: LogIndex): void {
    assert(next > this.match, 'a follower would be asked for what it has confirmed');
    this.#become('probe', next);
  }

  becomeReplicate(): void {
    this.#become('replicate', this.match + 1);
  }

  becomeSnapshot(index: LogIndex): void {
    this.#become('snapshot', index + 1);
    this.pendingSnapshot = index;
  }

  /** The driver is done with the snapshot, well or not. Wait for the follower's word either way. */
  snapshotDone(ok: boolean): void {
    if (this.state !== 'snapshot') return;
    this.becomeProbe(Math.max(ok ? this.pendingSnapshot : 0, this.match) + 1);
    this.isPaused = true;
  }

  #become(state: ProgressState, next: LogIndex): void {
    this.state = state;
    this.next = next;
    this.pendingSnapshot = 0;
    this.isPaused = false;
    this.isNudged = false;
    this.window.clear();
  }
}

/** What `status` tells about a follower. */
export interface ProgressStatus {
  readonly id: ReplicaId;
  readonly state: ProgressState;
  readonly match: LogIndex;
  readonly next: LogIndex;
  readonly isActive: boolean;
  readonly pendingSnapshot: LogIndex;
  readonly inflightMessages: number;
  readonly inflightBytes: number;
}

/** A follower's progress as plain data. */
export function progressStatus(progress: Progress): ProgressStatus {
  return {
    id: progress.id,
    state: progress.state,
    match: progress.match,
    next: progress.next,
    isActive: progress.isActive,
    pendingSnapshot: progress.pendingSnapshot,
    inflightMessages: progress.window.length,
    inflightBytes: progress.window.bytes,
  };
}
