import { type ChunkId, HoldfastError, PARTITION_COUNT, type PartitionId } from '@holdfast/protocol';
import type { WireServer } from '@holdfast/wire';
import type { ChunkStore } from './store.ts';

/** Chunks of one listing, and of one deletion. */
const LIST_COUNT_MAX = 10_000;
const DELETE_COUNT_MAX = 10_000;

/** Serves a store to peers and clients: the methods `chunk.*`. */
export function serveChunks(server: WireServer, store: ChunkStore): void {
  server.handle('chunk.write', ['node', 'client'], async ({ header, body }) => {
    await store.write((header as { chunk: ChunkId }).chunk, body);
    return { header: {} };
  });
  server.handle('chunk.read', ['node', 'client'], async ({ header }) => {
    const { chunk, offset, length } = header as { chunk: ChunkId; offset: number; length: number };
    const { bytes, chunkLength } = await store.read(chunk, offset, length);
    return { header: { length: chunkLength }, body: bytes };
  });
  server.handle('chunk.list', ['node'], async ({ header }) => {
    const { partition, after, count } = header as {
      partition: PartitionId;
      after: ChunkId | '';
      count: number;
    };
    if (
      !(partition >= 0 && partition < PARTITION_COUNT) ||
      !(count >= 1 && count <= LIST_COUNT_MAX)
    ) {
      throw new HoldfastError(
        'BAD_REQUEST',
        `partitions are 0 to ${PARTITION_COUNT - 1}, counts 1 to ${LIST_COUNT_MAX}`,
      );
    }
    return { header: await store.list(partition, after, count) };
  });
  server.handle('chunk.delete', ['node'], async ({ header }) => {
    const { chunks } = header as { chunks: ChunkId[] };
    if (chunks.length > DELETE_COUNT_MAX)
      throw new HoldfastError('BAD_REQUEST', `at most ${DELETE_COUNT_MAX} chunks at once`);
    await store.delete(chunks);
    return { header: {} };
  });
  server.handle('chunk.space', ['node', 'client'], async () => ({ header: await store.space() }));
}
