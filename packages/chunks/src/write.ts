import { randomBytes } from 'node:crypto';
import {
  CHUNK_NUMBERS_MAX,
  type ChunkId,
  type ClusterMap,
  HoldfastError,
  makeChunkId,
  type NodeNumber,
  PARTITION_COUNT,
  type PartitionId,
  placementOf,
} from '@holdfast/protocol';
import type { ChunkCluster } from './cluster.ts';
import { BoundedWait } from './wait.ts';

/** Milliseconds for one replica to take and flush a chunk. */
const WRITE_MS_MAX = 10_000;
/** Bytes whose copies may still be under way after their writes were answered; then writes wait. */
const UNFINISHED_BYTES_MAX = 64 * 2 ** 20;
/** Partitions looked at to find one whose replicas are all up. */
const PARTITION_TRIES = 32;
/** Spreads consecutive chunks over the partitions (odd, so that every partition has its turn). */
const PARTITION_STRIDE = 7_919;

/** How many copies of a chunk are wanted, and how many must be durable before a write is answered. */
export interface CopyPolicy {
  readonly replicas: number;
  readonly minReplicas: number;
}

/** Where a new chunk goes. */
interface Place {
  readonly chunk: ChunkId;
  readonly nodes: readonly NodeNumber[];
  readonly needed: number;
  /** Copies that the chunk is to have once all is well. */
  readonly copies: number;
}

/** Stores chunks on all their replicas at once; enough durable copies make a write. */
export class ChunkWriter {
  readonly #cluster: ChunkCluster;
  readonly #nowMs: () => number;
  readonly #writer = randomBytes(6).toString('hex');
  #counter = 0;
  /** The second in which chunks are made, as their ids say. */
  #madeAt = 0;
  #partition = randomBytes(2).readUInt16LE() % PARTITION_COUNT;
  #unfinishedBytes = 0;
  #waiting: (() => void)[] = [];

  /** `nowMs`: milliseconds since the epoch. */
  constructor(cluster: ChunkCluster, nowMs = (): number => Date.now()) {
    this.#cluster = cluster;
    this.#nowMs = nowMs;
  }

  /**
   * Resolves when the bytes (1 … LIMITS.chunkBytesMax) are flushed on `minReplicas` peers; copies to
   * the others go on in the background, and what they miss is made good by repair. The buffer may be
   * reused at once. Throws ENOSPC as soon as too few peers have room, NO_REPLICA when the bounded wait
   * is over, EINTR by the signal.
   */
  async write(
    bytes: Uint8Array,
    policy: CopyPolicy,
    signal?: AbortSignal,
  ): Promise<{ chunk: ChunkId; chunkLength: number }> {
    // Before anything is waited for: the caller may use its buffer again as soon as it has the promise.
    const own = Uint8Array.prototype.slice.call(bytes);
    await this.#cluster.ready(signal);
    await this.#room(own.length);
    const wait = new BoundedWait(this.#cluster.operationWaitMs, signal);
    const full = new Set<NodeNumber>();
    let noRoom: HoldfastError | undefined;
    for (;;) {
      const place = this.#place(this.#cluster.map, policy, full);
      if (noRoom !== undefined && place.nodes.some((node) => full.has(node))) throw noRoom;
      try {
        await this.#send(place, own, full);
        return { chunk: place.chunk, chunkLength: own.length };
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        if (error.code === 'ENOSPC') {
          // Others may have room, at once; each try finds one more that is full.
          noRoom = error;
          wait.check(error);
          continue;
        }
        if (error.kind === 'refusal') throw error;
        wait.check(error);
        await this.#cluster.refresh();
        await wait.pause(error);
      }
    }
  }

  /** A new chunk in the next partition whose replicas are all up and have room, if there is one nearby. */
  #place(
    map: ClusterMap,
    { replicas, minReplicas }: CopyPolicy,
    full: ReadonlySet<NodeNumber>,
  ): Place {
    const up = new Set(
      map.nodes
        .filter(({ state, number }) => state === 'up' && !full.has(number))
        .map(({ number }) => number),
    );
    let best: { partition: number; row: readonly NodeNumber[]; up: NodeNumber[] } | undefined;
    for (
      let i = 0;
      i < PARTITION_TRIES && (best === undefined || best.up.length < best.row.length);
      i++
    ) {
      this.#partition = (this.#partition + PARTITION_STRIDE) % PARTITION_COUNT;
      const row = placementOf(map, this.#partition as PartitionId).replicas.slice(0, replicas);
      const alive = row.filter((node) => up.has(node));
      if (best === undefined || alive.length > best.up.length)
        best = { partition: this.#partition, row, up: alive };
    }
    if (best === undefined || best.row.length === 0) {
      throw new HoldfastError('NO_REPLICA', 'the cluster map places no replica for new chunks');
    }
    const needed = Math.min(minReplicas, best.row.length);
    return {
      chunk: this.#newChunk(best.partition as PartitionId),
      // A peer that is down would only be waited for; repair gives it its copy when it is back.
      nodes: best.up.length >= needed ? best.up : best.row,
      needed,
      copies: replicas,
    };
  }

  /** Never goes back, nor below what was barred. */
  #newChunk(partition: PartitionId): ChunkId {
    this.#madeAt = Math.max(this.#madeAt, Math.floor(this.#nowMs() / 1000));
    const chunk = makeChunkId(partition, this.#writer, this.#counter++, this.#madeAt);
    if (this.#counter > CHUNK_NUMBERS_MAX) {
      this.#counter = 0;
      this.#madeAt += 1;
    }
    return chunk;
  }

  /**
   * A chunk of this writer was refused, since those made before a second are not to be named any more:
   * those that are made from now on are of that second, or later. 0: it was not that.
   */
  barred(before: number): void {
    this.#madeAt = Math.max(this.#madeAt, before);
  }

  /** `full`: gets the peers that have no room. */
  async #send(place: Place, bytes: Uint8Array, full: Set<NodeNumber>): Promise<void> {
    const { chunk, nodes, needed } = place;
    this.#unfinishedBytes += bytes.length;
    let durable = 0;
    const failures: unknown[] = [];
    await new Promise<void>((resolve, reject) => {
      const copies = nodes.map((node) =>
        this.#copy(place, bytes, node).then(
          () => {
            if (++durable === needed) resolve();
          },
          (error: unknown) => {
            if (codeOf(error) === 'ENOSPC') full.add(node);
            if (codeOf(error) === 'STALE_MAP') void this.#cluster.refresh();
            if (failures.push(error) > nodes.length - needed)
              reject(tooFew(chunk, { durable, needed }, failures));
          },
        ),
      );
      void Promise.all(copies).finally(() => this.#finished(bytes.length));
    });
  }

  async #copy({ chunk, copies }: Place, bytes: Uint8Array, node: NodeNumber): Promise<void> {
    const connection = this.#cluster.connections.to(node, 'bulk');
    if (connection === undefined)
      throw new HoldfastError('UNREACHABLE', `node ${node} has no known address`);
    const header = { chunk, copies, epoch: this.#cluster.map.epoch };
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

/** The failure of a write: a refusal that none of the peers will take back, else an outage. */
function tooFew(
  chunk: ChunkId,
  { durable, needed }: { durable: number; needed: number },
  failures: readonly unknown[],
): HoldfastError {
  const cause = failures[0];
  const final = failures.find(
    (failure): failure is HoldfastError =>
      failure instanceof HoldfastError &&
      failure.kind === 'refusal' &&
      failure.code !== 'CHUNK_FREED',
  );
  const text = cause instanceof Error ? cause.message : String(cause);
  return new HoldfastError(
    final?.code ?? 'NO_REPLICA',
    `chunk ${chunk}: ${durable} of ${needed} needed copies are durable (${text})`,
    { cause },
  );
}

function codeOf(error: unknown): string | undefined {
  return error instanceof HoldfastError ? error.code : undefined;
}
