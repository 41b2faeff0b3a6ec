import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockChecksums, encodeHead, RECORD_ALIGNMENT, recordBytes } from './record.ts';
import { scanSegment } from './scan.ts';

const LENGTHS = [20_000, 100, 70_000, 5_000];
const STARTS = LENGTHS.map((_, i) =>
  LENGTHS.slice(0, i).reduce((sum, length) => sum + recordBytes(length), 0),
);
const IDS = LENGTHS.map((_, i) => makeChunkId(1 as PartitionId, 'abcdefabcdef', i));

function record(chunk: ChunkId, length: number): Buffer {
  const bytes = randomBytes(length);
  const head = { kind: 'chunk' as const, chunk, length, copies: 0, blocks: blockChecksums(bytes) };
  const padding = Buffer.alloc(recordBytes(length) - RECORD_ALIGNMENT - length);
  return Buffer.concat([encodeHead(head, true), bytes, padding]);
}

describe('a scan of a segment on a disk with unreadable sectors', () => {
  let directory: string;
  let file: FileHandle;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-scan-'));
    const path = join(directory, 'segment');
    writeFileSync(path, Buffer.concat(LENGTHS.map((length, i) => record(IDS[i]!, length))));
    file = await open(path, 'r');
  });
  afterEach(async () => {
    await file.close();
    rmSync(directory, { recursive: true });
  });

  /** The file as a disk gives it that cannot read some bytes. */
  function failing(from: number, to: number, code = 'EIO'): FileHandle {
    const read = async (into: Buffer, at: number, length: number, position: number) => {
      if (position < to && position + length > from)
        throw Object.assign(new Error('i/o error'), { code });
      return file.read(into, at, length, position);
    };
    return { stat: () => file.stat(), read } as unknown as FileHandle;
  }

  async function scan(disk: FileHandle): Promise<{ whole: number[]; bad: number[]; gaps: number }> {
    let gaps = 0;
    const { records } = await scanSegment(disk, 0, () => gaps++);
    const indexes = (isWhole: boolean): number[] =>
      records
        .filter((found) => found.isWhole === isWhole)
        .map(({ head }) => IDS.indexOf(head.chunk));
    return { whole: indexes(true), bad: indexes(false), gaps };
  }

  it('finds all that can be read, and says what is lost', async () => {
    const [first = 0, second = 0, third = 0, fourth = 0] = STARTS;
    expect(await scan(file)).toEqual({ whole: [0, 1, 2, 3], bad: [], gaps: 0 });
    // Bytes, a head, both, and a head at the start.
    expect(await scan(failing(first + 8_192, first + 12_288))).toEqual({
      whole: [1, 2, 3],
      bad: [0],
      gaps: 1,
    });
    expect(await scan(failing(second, second + 1))).toMatchObject({ whole: [0, 2, 3], gaps: 1 });
    expect(await scan(failing(third + 4_096, fourth - 10_000))).toMatchObject({
      whole: [0, 1, 3],
      bad: [2],
    });
    expect(await scan(failing(0, 1))).toMatchObject({ whole: [1, 2, 3], gaps: 1 });
  });

  it('fails when something else than the disk is wrong', async () => {
    await expect(scan(failing(0, 1, 'EMFILE'))).rejects.toMatchObject({ code: 'EMFILE' });
  });
});
