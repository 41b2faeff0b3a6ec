/**
 * Which requests are worked on now and which wait. Each volume has a lane with a limit of its own,
 * so that a volume that cannot be reached does not hold up the others.
 */
import type { RequestBody } from './kernel/requests.ts';
import { MOUNT_LIMITS } from './limits.ts';
import type { PendingRequest } from './pending-request.ts';

/** A request and what it asks. */
export interface Admitted {
  readonly request: PendingRequest;
  readonly body: RequestBody;
}

interface Lane {
  running: number;
  readonly queue: Admitted[];
}

/** Operations that change nothing: they take no place among a session's commands. */
const LOOKS: ReadonlySet<string> = new Set([
  'lookup',
  'getattr',
  'readlink',
  'read',
  'statfs',
  'getxattr',
  'listxattr',
  'opendir',
  'readdir',
  'readdirplus',
  'releasedir',
  'getlk',
  'lseek',
]);

/** The waiting rooms of one mount. */
export class Admission {
  readonly #lanes = new Map<number, Lane>();
  readonly #start: (admitted: Admitted) => void;
  #running = 0;
  #changes = 0;
  #queued = 0;
  #queuedBytes = 0;

  /** `start` begins work on a request; {@link finished} must follow once, later. */
  constructor(start: (admitted: Admitted) => void) {
    this.#start = start;
  }

  /** Requests under way. */
  get running(): number {
    return this.#running;
  }

  /** Whether no more requests should be read. */
  get isFull(): boolean {
    return (
      this.#queued >= MOUNT_LIMITS.queuedMax || this.#queuedBytes >= MOUNT_LIMITS.queuedBytesMax
    );
  }

  /** Whether reading may go on after {@link isFull}; lower, so that it does not flutter. */
  get hasRoom(): boolean {
    return (
      this.#queued <= MOUNT_LIMITS.queuedMax / 2 &&
      this.#queuedBytes <= MOUNT_LIMITS.queuedBytesMax / 2
    );
  }

  /** Starts a request now, or when its turn has come. */
  admit(admitted: Admitted): void {
    const lane = this.#laneOf(admitted);
    if (lane.queue.length === 0 && this.#mayStart(lane, admitted)) {
      this.#begin(lane, admitted);
      return;
    }
    lane.queue.push(admitted);
    this.#queued += 1;
    this.#queuedBytes += payloadBytes(admitted);
  }

  /** A started request has been answered; starts those whose turn this makes it. */
  finished(admitted: Admitted): void {
    const lane = this.#laneOf(admitted);
    lane.running -= 1;
    this.#running -= 1;
    if (!isLook(admitted)) this.#changes -= 1;
    if (lane.running === 0 && lane.queue.length === 0) this.#lanes.delete(volumeOf(admitted));
    this.#advance(lane);
    // A place among the changes may be what another volume waits for.
    for (const other of this.#queued > 0 ? [...this.#lanes.values()] : []) this.#advance(other);
  }

  /** Takes a waiting request out; false when it is not waiting. */
  withdraw(request: PendingRequest): boolean {
    const lane = this.#lanes.get(request.node.volume);
    const index = lane?.queue.findIndex((admitted) => admitted.request === request) ?? -1;
    const [withdrawn] = index < 0 ? [] : (lane?.queue.splice(index, 1) ?? []);
    if (withdrawn === undefined) return false;
    this.#unqueued(withdrawn);
    return true;
  }

  /** Forgets everyone who waits. */
  clear(): void {
    for (const lane of this.#lanes.values()) {
      for (const admitted of lane.queue.splice(0)) this.#unqueued(admitted);
    }
  }

  #laneOf(admitted: Admitted): Lane {
    const volume = volumeOf(admitted);
    let lane = this.#lanes.get(volume);
    if (lane === undefined) {
      lane = { running: 0, queue: [] };
      this.#lanes.set(volume, lane);
    }
    return lane;
  }

  #mayStart(lane: Lane, admitted: Admitted): boolean {
    if (lane.running >= MOUNT_LIMITS.runningPerVolumeMax) return false;
    return isLook(admitted) || this.#changes < MOUNT_LIMITS.changesMax;
  }

  #begin(lane: Lane, admitted: Admitted): void {
    lane.running += 1;
    this.#running += 1;
    if (!isLook(admitted)) this.#changes += 1;
    this.#start(admitted);
  }

  #advance(lane: Lane): void {
    for (;;) {
      const next = lane.queue[0];
      if (next === undefined || !this.#mayStart(lane, next)) return;
      lane.queue.shift();
      this.#unqueued(next);
      this.#begin(lane, next);
    }
  }

  #unqueued(admitted: Admitted): void {
    this.#queued -= 1;
    this.#queuedBytes -= payloadBytes(admitted);
  }
}

function volumeOf({ request }: Admitted): number {
  return request.node.volume;
}

function isLook({ request }: Admitted): boolean {
  return LOOKS.has(request.op);
}

function payloadBytes({ body }: Admitted): number {
  return body.op === 'write' ? body.bytes.length : 0;
}
