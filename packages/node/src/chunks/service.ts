import { randomBytes } from 'node:crypto';
import {
  type ChunkId,
  type Epoch,
  HoldfastError,
  isChunkId,
  LIMITS,
  PARTITION_COUNT,
  type PartitionId,
  partitionOf,
} from '@holdfast/protocol';
import type { PeerRole, WireServer } from '@holdfast/wire';
import type { DigestRow } from './digests.ts';
import { CHUNK_STORE_LIMITS } from './limits.ts';
import { ReadGate } from './read-gate.ts';
import type { ChunkStore } from './store.ts';

/** Chunks of one listing, and of one deletion. */
const LIST_COUNT_MAX = 10_000;
const DELETE_COUNT_MAX = 10_000;

/** A write as it is asked for. */
export interface ChunkWrite {
  readonly chunk: ChunkId;
  /** Of the writer's map. */
  readonly epoch: Epoch;
  readonly role: PeerRole;
}

/** What a store's peer knows of the cluster, and the store does not. */
export interface ChunkRules {
  /** Epoch of the newest map seen; 0 before there is one. */
  readonly epoch: () => number;
  /** Throws STALE_MAP or CHUNK_FREED for a chunk that must not be stored here (any more). */
  readonly admit: (write: ChunkWrite) => void;
  /** Told of chunks that the cluster has given up, before they are deleted. */
  readonly givenUp: (chunks: readonly ChunkId[]) => void;
}

/** Where a caller of `chunk.digest` got to the last time. */
export interface DigestRequest {
  readonly instance: string;
  readonly version: number;
}

/** Digests of the partitions that changed since. Another instance: of all that are not empty. */
export interface DigestAnswer extends DigestRequest {
  /** Of the answering peer's map: a write admitted under an older one is in the digests. */
  readonly epoch: number;
  readonly digests: readonly DigestRow[];
}

const NO_RULES: ChunkRules = { epoch: () => 0, admit: () => {}, givenUp: () => {} };

/** Serves a store to peers and clients: the methods `chunk.*`. */
export function serveChunks(
  server: WireServer,
  store: ChunkStore,
  rules: ChunkRules = NO_RULES,
): void {
  serveWrites(server, store, rules);
  serveReads(server, store);
  server.handle('chunk.list', ['node'], async ({ header }) => {
    const { partition, after, count } = fields<{
      partition: PartitionId;
      after: ChunkId | '';
      count: number;
    }>(header);
    const isPartition =
      Number.isInteger(partition) && partition >= 0 && partition < PARTITION_COUNT;
    if (!isPartition || !(Number.isInteger(count) && count >= 1 && count <= LIST_COUNT_MAX)) {
      throw new HoldfastError(
        'BAD_REQUEST',
        `partitions are 0 to ${PARTITION_COUNT - 1}, counts 1 to ${LIST_COUNT_MAX}`,
      );
    }
    if (after !== '' && !(isChunkId(after) && partitionOf(after) === partition))
      throw new HoldfastError('BAD_REQUEST', 'a listing goes on after a chunk of its partition');
    return { header: await store.list(partition, after, count) };
  });
  server.handle('chunk.delete', ['node'], async ({ header }) => {
    const { chunks } = fields<{ chunks: ChunkId[] }>(header);
    const isList = Array.isArray(chunks) && chunks.every((chunk) => isChunkId(chunk));
    if (!isList || chunks.length > DELETE_COUNT_MAX)
      throw new HoldfastError('BAD_REQUEST', `a deletion names at most ${DELETE_COUNT_MAX} chunks`);
    rules.givenUp(chunks);
    await store.delete(chunks);
    return { header: {} };
  });
  server.handle('chunk.space', ['node', 'client'], async () => ({ header: await store.space() }));
}

function serveReads(server: WireServer, store: ChunkStore): void {
  const gate = new ReadGate(CHUNK_STORE_LIMITS);
  server.handle('chunk.read', ['node', 'client'], async ({ header, connection, signal }) => {
    const { chunk, offset, length } = fields<{ chunk: ChunkId; offset: number; length: number }>(
      header,
    );
    if (!(length >= 0 && length <= LIMITS.chunkBytesMax))
      throw new HoldfastError('BAD_REQUEST', `a read has 0 to ${LIMITS.chunkBytesMax} bytes`);
    const onSent = await gate.enter(connection, length, signal);
    try {
      const { bytes, chunkLength, copies } = await store.read(chunk, offset, length);
      return { header: { length: chunkLength, copies }, body: bytes, onSent };
    } catch (error) {
      onSent();
      throw error;
    }
  });
}

function serveWrites(server: WireServer, store: ChunkStore, rules: ChunkRules): void {
  const instance = randomBytes(8).toString('hex');
  const underWay = new Set<Promise<unknown>>();
  server.handle('chunk.write', ['node', 'client'], async ({ header, body, peer }) => {
    const { chunk, epoch, copies } = fields<{ chunk: ChunkId; epoch: Epoch; copies?: number }>(
      header,
    );
    if (!isChunkId(chunk)) throw new HoldfastError('BAD_REQUEST', 'a write names a chunk');
    rules.admit({ chunk, epoch, role: peer.role });
    const write = store.write(chunk, body, copies ?? 0);
    underWay.add(write);
    await write.finally(() => underWay.delete(write));
    return { header: {} };
  });
  server.handle('chunk.digest', ['node'], async ({ header }) => {
    const since = fields<Partial<DigestRequest>>(header);
    const epoch = rules.epoch();
    // What was admitted under an older map must be counted, or it would be missed for good.
    await Promise.allSettled(underWay);
    const { version } = store.digests;
    const from = since.instance === instance ? Number(since.version) : 0;
    const digests = store.digests.changedSince(from);
    return { header: { instance, version, epoch, digests } satisfies DigestAnswer };
  });
}

/** A foreign header taken apart; each field is yet to be checked. Throws BAD_REQUEST. */
function fields<T>(header: unknown): T {
  if (typeof header === 'object' && header !== null) return header as T;
  throw new HoldfastError('BAD_REQUEST', 'the header of the request is not a map');
}
