import { randomBytes } from 'node:crypto';
import {
  type ChunkId,
  type ClusterMap,
  HoldfastError,
  makeChunkId,
  type NodeNumber,
  PARTITION_COUNT,
  type PartitionId,
  placementOf,
} from '@holdfast/protocol';
import type { Cluster } from '../cluster/cluster.ts';
import { BoundedWait } from '../cluster/wait.ts';

/** Milliseconds for one replica to take and flush a chunk. */
const WRITE_MS_MAX = 10_000;
/** Bytes whose copies may still be under way after their writes were answered; then writes wait. */
const UNFINISHED_BYTES_MAX = 64 * 2 ** 20;
/** Partitions looked at to find one whose replicas are all up. */
const PARTITION_TRIES = 32;
/** Spreads consecutive chunks over the partitions (odd, so that every partition has its turn). */
const PARTITION_STRIDE = 7_919;

/** Stores chunks on all their replicas at once; enough durable copies make a write. */
export class ChunkWriter {
  readonly #cluster: Cluster;
  readonly #writer = randomBytes(6).toString('hex');
  #counter = 0;
  #partition = randomBytes(2).readUInt16LE() % PARTITION_COUNT;
  #unfinishedBytes = 0;
  #waiting: (() => void)[] = [];

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /**
   * Resolves when the bytes (1 … LIMITS.chunkBytesMax) are flushed on `minReplicas` peers; copies to
   * the others go on in the background, and what they miss is made good by repair. The buffer may be
   * reused at once. Throws NO_REPLICA or ENOSPC when the bounded wait is over, EINTR by the signal.
   */
  async write(
    bytes: Uint8Array,
    policy: { replicas: number; minReplicas: number },
    signal?: AbortSignal,
  ): Promise<{ chunk: ChunkId; chunkLength: number }> {
    await this.#cluster.ready(signal);
    await this.#room(bytes.length);
    // Copies outlive this call, the caller's buffer need not.
    const own = Uint8Array.prototype.slice.call(bytes);
    const wait = new BoundedWait(this.#cluster.operationWaitMs, signal);
    for (;;) {
      const { chunk, nodes } = this.#place(this.#cluster.map, policy.replicas);
      try {
        await this.#send(chunk, own, nodes, Math.min(policy.minReplicas, nodes.length));
        return { chunk, chunkLength: own.length };
      } catch (error) {
        if (
          !(error instanceof HoldfastError) ||
          (error.kind === 'refusal' && error.code !== 'ENOSPC')
        )
          throw error;
        await this.#cluster.refresh();
        await wait.pause(error);
      }
    }
  }

  /** A new chunk in the next partition whose replicas are all up, if there is one nearby. */
  #place(map: ClusterMap, replicas: number): { chunk: ChunkId; nodes: readonly NodeNumber[] } {
    const up = new Set(map.nodes.filter((node) => node.state === 'up').map((node) => node.number));
    let best: { partition: number; nodes: readonly NodeNumber[]; up: number } | undefined;
    for (
      let i = 0;
      i < PARTITION_TRIES && (best === undefined || best.up < best.nodes.length);
      i++
    ) {
      this.#partition = (this.#partition + PARTITION_STRIDE) % PARTITION_COUNT;
      const nodes = placementOf(map, this.#partition as PartitionId).replicas.slice(0, replicas);
      const count = nodes.filter((node) => up.has(node)).length;
      if (best === undefined || count > best.up)
        best = { partition: this.#partition, nodes, up: count };
    }
    if (best === undefined || best.nodes.length === 0) {
      throw new HoldfastError('NO_REPLICA', 'the cluster map places no replica for new chunks');
    }
    return {
      chunk: makeChunkId(best.partition as PartitionId, this.#writer, this.#counter++),
      nodes: best.nodes,
    };
  }

  async #send(
    chunk: ChunkId,
    bytes: Uint8Array,
    nodes: readonly NodeNumber[],
    needed: number,
  ): Promise<void> {
    this.#unfinishedBytes += bytes.length;
    let durable = 0;
    let failed = 0;
    await new Promise<void>((resolve, reject) => {
      const copies = nodes.map((node) =>
        this.#copy(chunk, bytes, node).then(
          () => {
            if (++durable === needed) resolve();
          },
          (error: unknown) => {
            if (++failed > nodes.length - needed) reject(tooFew(chunk, durable, needed, error));
          },
        ),
      );
      void Promise.all(copies).finally(() => this.#finished(bytes.length));
    });
  }

  async #copy(chunk: ChunkId, bytes: Uint8Array, node: NodeNumber): Promise<void> {
    const connection = this.#cluster.connections.to(node, 'bulk');
    if (connection === undefined)
      throw new HoldfastError('UNREACHABLE', `node ${node} has no known address`);
    const header = { chunk, epoch: this.#cluster.map.epoch };
    await connection.call('chunk.write', header, { body: bytes, deadlineMs: WRITE_MS_MAX });
  }

  async #room(bytes: number): Promise<void> {
    while (this.#unfinishedBytes > 0 && this.#unfinishedBytes + bytes > UNFINISHED_BYTES_MAX) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #finished(bytes: number): void {
    this.#unfinishedBytes -= bytes;
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function tooFew(chunk: ChunkId, durable: number, needed: number, cause: unknown): HoldfastError {
  // A full disk is worth naming; everything else is a replica that cannot be reached.
  const code = cause instanceof HoldfastError && cause.code === 'ENOSPC' ? 'ENOSPC' : 'NO_REPLICA';
  const text = cause instanceof Error ? cause.message : String(cause);
  return new HoldfastError(
    code,
    `chunk ${chunk}: ${durable} of ${needed} needed copies are durable (${text})`,
    { cause },
  );
}
