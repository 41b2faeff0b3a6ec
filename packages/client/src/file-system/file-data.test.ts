import {
  type ChunkId,
  type Extent,
  HoldfastError,
  type InodeNumber,
  type NodeReference,
  type RequestContext,
  type ShardId,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { FileData } from './file-data.ts';

const NODE: NodeReference = { volume: 1 as VolumeNumber, ino: 2 as InodeNumber };
const OLD = '0'.repeat(32) as ChunkId;
const NEW = '1'.repeat(32) as ChunkId;
const VOLUME = { shard: 1 as ShardId, number: 1 as VolumeNumber } as VolumeRecord;
const CONTEXT = {} as RequestContext;

/** A file of five bytes in a chunk, on a volume that is held. */
function fileIn(first: ChunkId) {
  const world = { chunk: first, looks: 0, chunks: new Map([[first, 'bytes']]) };
  const notUsed = (): never => {
    throw new RangeError('not used');
  };
  const view = () => {
    world.looks += 1;
    const source = { kind: 'chunk', chunk: world.chunk, chunkOffset: 0, chunkLength: 5 } as const;
    const extents: Extent[] = [{ offset: 0, length: 5, source }];
    return Promise.resolve({ attributes: { size: 5 }, extents, contentVersion: 1 } as never);
  };
  const data = new FileData({
    session: { view },
    sink: { write: notUsed },
    source: {
      read: (chunk, _chunkLength, offset, length) => {
        const text = world.chunks.get(chunk);
        if (text === undefined) return Promise.reject(new HoldfastError('CHUNK_MISSING'));
        return Promise.resolve([Buffer.from(text).subarray(offset, offset + length)]);
      },
      ahead: notUsed,
    },
    isHeld: () => true,
  });
  const read = async (): Promise<string> =>
    Buffer.concat(await data.read(VOLUME, NODE, 0, 10, CONTEXT)).toString();
  return { world, read };
}

describe('reading where the bytes were last time', () => {
  it('looks again when they have moved and the old chunk is gone', async () => {
    const { world, read } = fileIn(OLD);
    expect(await read()).toBe('bytes');
    expect(await read()).toBe('bytes');
    expect(world.looks).toBe(1);
    world.chunk = NEW;
    world.chunks = new Map([[NEW, 'bytes']]);
    expect(await read()).toBe('bytes');
    expect(world.looks).toBe(2);
  });

  it('tells that they are lost when the newest look says the same', async () => {
    const { world, read } = fileIn(OLD);
    await read();
    world.chunks.clear();
    await expect(read()).rejects.toMatchObject({ code: 'CHUNK_MISSING' });
    expect(world.looks).toBe(2);
  });
});
