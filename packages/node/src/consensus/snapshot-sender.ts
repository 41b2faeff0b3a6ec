import type { InstallSnapshot } from '@holdfast/raft';
import type { RaftTransport } from './raft-transport.ts';
import type { ShardReplica } from './replica.ts';

/** Snapshots on their way at once; each reads the whole state of a shard. */
const SENDING_MAX = 2;

interface Job {
  readonly replica: ShardReplica;
  readonly message: InstallSnapshot;
}

/** Streams snapshots to followers that are too far behind, a bounded number at a time. */
export class SnapshotSender {
  readonly #transport: RaftTransport;
  readonly #wake: (replica: ShardReplica) => void;
  #waiting: Job[] = [];
  #sending = 0;
  readonly #abort = new AbortController();

  constructor(transport: RaftTransport, wake: (replica: ShardReplica) => void) {
    this.#transport = transport;
    this.#wake = wake;
  }

  /** The group waits for `reportSnapshot` before it sends the follower anything else. */
  send(replica: ShardReplica, message: InstallSnapshot): void {
    this.#waiting.push({ replica, message });
    this.#next();
  }

  #next(): void {
    while (this.#sending < SENDING_MAX) {
      const job = this.#waiting.shift();
      if (job === undefined) return;
      this.#sending += 1;
      void this.#run(job);
    }
  }

  async #run({ replica, message }: Job): Promise<void> {
    const ok = await this.#stream(replica, message).then(
      () => true,
      () => false,
    );
    this.#sending -= 1;
    replica.group.reportSnapshot(message.to, ok);
    this.#wake(replica);
    this.#next();
  }

  async #stream(replica: ShardReplica, message: InstallSnapshot): Promise<void> {
    // Newer than what was asked for: the state as it is now, and its meta, in one turn.
    const snapshot = replica.snapshotMeta();
    const stream = replica.machine.snapshot();
    const begin = { group: replica.shard, message: { ...message, snapshot } };
    await this.#transport.sendSnapshot(begin, stream, this.#abort.signal);
  }

  close(): void {
    this.#waiting = [];
    this.#abort.abort();
  }
}
