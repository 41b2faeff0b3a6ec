import {
  type ChunkId,
  type Extent,
  HoldfastError,
  type InodeNumber,
  type NodeReference,
  type Operation,
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
    sink: { write: notUsed, barred: notUsed },
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

describe('writing', () => {
  /** A file system whose shard refuses chunks by their ids; gives what was committed and told. */
  async function write(length: number, refusals: readonly HoldfastError[]) {
    const left = [...refusals];
    const chunks: [ChunkId, string][] = [];
    const told: number[] = [];
    const commits: Operation[] = [];
    const data = new FileData({
      session: { view: () => Promise.reject(new RangeError('not used')) },
      sink: {
        write: (bytes) => {
          const chunk = String(chunks.length).repeat(32) as ChunkId;
          chunks.push([chunk, Buffer.from(bytes).toString()]);
          return Promise.resolve({ chunk, chunkLength: bytes.length });
        },
        barred: (before) => told.push(before),
      },
      source: { read: () => Promise.reject(new RangeError('not used')), ahead: () => {} },
      isHeld: () => false,
    });
    const commit = (operation: Operation) => {
      const refusal = left.shift();
      if (refusal !== undefined) return Promise.reject(refusal);
      commits.push(operation);
      return Promise.resolve({});
    };
    const how = { append: false, killPrivileges: false, commit };
    const volume = { ...VOLUME, policy: { replicas: 3, minReplicas: 2 } } as VolumeRecord;
    await data.write(volume, NODE, 7, Buffer.alloc(length, 'x'), how, CONTEXT);
    return { chunks, told, commits };
  }
  const freed = (barredBefore?: number) =>
    new HoldfastError('CHUNK_FREED', undefined, {
      detail: barredBefore === undefined ? {} : { barredBefore },
    });

  it('puts the bytes into other chunks while theirs may not be named any more, and says why', async () => {
    const { chunks, told, commits } = await write(40_000, [freed(12), freed(), freed(13)]);
    expect(new Set(chunks.map(([, bytes]) => bytes))).toEqual(new Set(['x'.repeat(40_000)]));
    expect(chunks).toHaveLength(4);
    expect(told).toEqual([12, 0, 13]);
    const chunk = chunks[3]?.[0];
    const source = { kind: 'chunk', chunk, chunkOffset: 0, chunkLength: 40_000 };
    expect(commits).toMatchObject([{ extents: [{ offset: 7, length: 40_000, source }] }]);
  });

  it('ends with any other refusal, and does not go on for ever', async () => {
    await expect(write(40_000, [new HoldfastError('ENOSPC')])).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    const always = Array.from({ length: 100 }, () => freed());
    await expect(write(40_000, always)).rejects.toMatchObject({ code: 'CHUNK_FREED' });
    const late = Array.from({ length: 100 }, (_, second) => freed(second + 1));
    expect((await write(40_000, late)).commits).toHaveLength(1);
  });
});

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
