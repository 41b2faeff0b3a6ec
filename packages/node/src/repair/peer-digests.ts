import type { NodeNumber, PartitionId } from '@holdfast/protocol';
import type { Digest } from '../chunks/digests.ts';
import type { DigestAnswer, DigestRequest } from '../chunks/service.ts';
import { pause } from '../waiting.ts';
import { REPAIR_LIMITS } from './limits.ts';
import type { PeerCall } from './peers.ts';

interface Known {
  request: DigestRequest;
  epoch: number;
  readonly digests: Map<PartitionId, Digest>;
}

interface Silence {
  readonly failures: number;
  readonly until: number;
}

const NOTHING: Digest = { count: 0, high: 0, low: 0 };
const NEVER_ASKED: DigestRequest = { instance: '', version: 0 };

/** What the other peers hold, as they said last; only what changed is asked for again. */
export class PeerDigests {
  readonly #call: PeerCall;
  readonly #known = new Map<NodeNumber, Known>();
  readonly #asking = new Map<NodeNumber, Promise<void>>();
  readonly #silent = new Map<NodeNumber, Silence>();
  #answered = new Set<NodeNumber>();

  constructor(call: PeerCall) {
    this.#call = call;
  }

  /**
   * Asks peers, all at once, and waits for a while; those that failed of late are passed over. Then
   * {@link hasAnswered} tells whose digests are of now.
   */
  async ask(peers: Iterable<NodeNumber>, signal: AbortSignal): Promise<void> {
    this.#answered = new Set();
    const asked: Promise<void>[] = [];
    for (const peer of peers) {
      if (!this.isReachable(peer)) continue;
      let asking = this.#asking.get(peer);
      if (asking === undefined) {
        asking = this.#ask(peer).finally(() => this.#asking.delete(peer));
        this.#asking.set(peer, asking);
      }
      asked.push(asking);
    }
    const done = new AbortController();
    const enough = pause(REPAIR_LIMITS.askMsMax, AbortSignal.any([signal, done.signal]));
    await Promise.race([Promise.all(asked), enough]);
    done.abort();
  }

  async #ask(peer: NodeNumber): Promise<void> {
    try {
      const known = this.#known.get(peer);
      const { header } = await this.#call<DigestAnswer>(
        peer,
        'chunk.digest',
        known?.request ?? NEVER_ASKED,
        { deadlineMs: REPAIR_LIMITS.answerMsMax },
      );
      this.#take(peer, header);
      this.#silent.delete(peer);
      this.#answered.add(peer);
    } catch {
      this.failed(peer);
    }
  }

  #take(peer: NodeNumber, { instance, version, epoch, digests }: DigestAnswer): void {
    const known = this.#known.get(peer);
    const same = known?.request.instance === instance;
    const all = same ? known.digests : new Map<PartitionId, Digest>();
    for (const [partition, count, high, low] of digests) {
      if (count === 0) all.delete(partition);
      else all.set(partition, { count, high, low });
    }
    this.#known.set(peer, { request: { instance, version }, epoch, digests: all });
  }

  /** Whether the last {@link ask} got an answer. */
  hasAnswered(peer: NodeNumber): boolean {
    return this.#answered.has(peer);
  }

  /** Epoch of the peer's map when it answered last; 0 when it never did. */
  epochOf(peer: NodeNumber): number {
    return this.#known.get(peer)?.epoch ?? 0;
  }

  /** As of its last answer. */
  of(peer: NodeNumber, partition: PartitionId): Digest {
    return this.#known.get(peer)?.digests.get(partition) ?? NOTHING;
  }

  /** Whether it is worth calling now. */
  isReachable(peer: NodeNumber): boolean {
    const silence = this.#silent.get(peer);
    return silence === undefined || performance.now() >= silence.until;
  }

  /** A call did not get through: the peer is left alone for a while. */
  failed(peer: NodeNumber): void {
    const failures = (this.#silent.get(peer)?.failures ?? 0) + 1;
    const { retryMsMin, retryMsMax } = REPAIR_LIMITS;
    const waitMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(failures - 1, 10));
    this.#silent.set(peer, { failures, until: performance.now() + waitMs });
    this.#answered.delete(peer);
  }

  /** The peer is said to be back. */
  retry(peer: NodeNumber): void {
    this.#silent.delete(peer);
  }

  /** Forgets peers that are no more. */
  keep(peers: ReadonlySet<NodeNumber>): void {
    for (const peer of [...this.#known.keys(), ...this.#silent.keys()]) {
      if (peers.has(peer)) continue;
      this.#known.delete(peer);
      this.#silent.delete(peer);
    }
  }
}
