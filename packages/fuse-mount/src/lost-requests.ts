import { ERRNO } from '@holdfast/protocol';
import type { Channel } from './device/channel.ts';
import { MOUNT_LIMITS } from './limits.ts';
import type { Watermark } from './restart.ts';

/** Ids grow by this much from request to request (FUSE_REQ_ID_STEP). */
const ID_STEP = 2;

/**
 * On kernels without RESEND (before Linux 6.9): frees the callers of requests that an earlier daemon
 * read and never answered. The first id that is read bounds them from above; every lower one that
 * we did not read ourselves is answered EINTR, which means nothing to those that do not wait.
 */
export class LostRequests {
  readonly #channel: Pick<Channel, 'replyError'>;
  readonly #watermark: Watermark;
  readonly #isInFlight: (requestId: number) => boolean;
  readonly #onLost: (requestId: number) => void;
  #isSearchDue: boolean;

  constructor(options: {
    readonly channel: Pick<Channel, 'replyError'>;
    readonly watermark: Watermark;
    readonly isRestart: boolean;
    readonly isInFlight: (requestId: number) => boolean;
    /** A caller was freed. */
    readonly onLost: (requestId: number) => void;
  }) {
    this.#channel = options.channel;
    this.#watermark = options.watermark;
    this.#isInFlight = options.isInFlight;
    this.#onLost = options.onLost;
    this.#isSearchDue = options.isRestart;
  }

  /** A request was read; `oldest`: the lowest id in flight. */
  read(requestId: number, oldest: number): void {
    if (this.#isSearchDue) {
      this.#isSearchDue = false;
      this.#search(this.#watermark.found, { before: requestId });
      return;
    }
    this.#watermark.advance(oldest);
  }

  /** Slice by slice, so that living requests are served meanwhile. */
  #search(from: number, { before }: { before: number }): void {
    const end = Math.min(before, from + ID_STEP * MOUNT_LIMITS.lostAnswersPerTurn);
    for (let id = from; id < end; id += ID_STEP) {
      if (this.#isInFlight(id)) continue;
      const request = { requestId: id, isResent: false };
      if (this.#channel.replyError(request, ERRNO['EINTR'] ?? 4)) this.#onLost(id);
    }
    if (end < before) setImmediate(() => this.#search(end, { before }));
  }
}
