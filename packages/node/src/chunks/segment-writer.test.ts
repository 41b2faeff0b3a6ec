import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkId, HoldfastError } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockChecksums } from './record.ts';
import { SegmentFiles } from './segment-files.ts';
import { type Append, type Appended, farewell, SegmentWriter } from './segment-writer.ts';

const bytes = Buffer.from('bytes');

function record(name: string, movedFrom?: number): Append {
  const chunk = name.padStart(32, '0') as ChunkId;
  const head = {
    kind: 'chunk' as const,
    chunk,
    length: 5,
    copies: 0,
    blocks: blockChecksums(bytes),
  };
  return movedFrom === undefined ? { head, bytes } : { head, bytes, movedFrom };
}

describe('the segment writer', () => {
  let directory: string;
  let files: SegmentFiles;
  let writer: SegmentWriter;
  let batches: (readonly Appended[])[];
  let stale: Set<string>;
  let notReady: string | undefined;
  let notEntered: 'OVERLOADED' | undefined;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-segments-'));
    files = new SegmentFiles(directory, 4);
    await files.create(1, 1 << 20);
    batches = [];
    stale = new Set();
    notReady = undefined;
    notEntered = undefined;
    writer = new SegmentWriter({
      files,
      segmentBytes: 1 << 20,
      segment: 1,
      offset: 0,
      ready: async () => {
        if (notReady !== undefined) throw Object.assign(new Error('test'), { code: notReady });
      },
      isCurrent: ({ head }) => !stale.has(head.chunk),
      onDurable: async (batch) => {
        if (notEntered !== undefined) throw new HoldfastError(notEntered);
        batches.push(batch);
      },
      onFlush: () => {},
    });
  });
  afterEach(async () => {
    await writer.settled();
    await files.close();
    rmSync(directory, { recursive: true });
  });

  const written = (): string[][] =>
    batches.map((batch) =>
      batch.map(({ append: { head } }) => `${head.kind} ${head.chunk.replace(/^0+/, '')}`),
    );

  it('flushes what waits in one batch, and what comes meanwhile in the next', async () => {
    const first = [record('a'), record('b')].map((append) => writer.append(append));
    await Promise.resolve();
    await Promise.resolve();
    const second = [record('c'), record('d')].map((append) => writer.append(append));
    await Promise.all([...first, ...second]);
    expect(written()).toEqual([
      ['chunk a', 'chunk b'],
      ['chunk c', 'chunk d'],
    ]);
  });

  it('leaves out a moved record behind the tombstone of its chunk, in the same batch too', async () => {
    const { chunk } = record('a').head;
    await Promise.all(
      [farewell(chunk, 'tombstone'), record('a', 1), record('b', 1)].map((append) =>
        writer.append(append),
      ),
    );
    stale.add(record('c').head.chunk);
    await Promise.all([record('c', 1), record('c')].map((append) => writer.append(append)));
    expect(written()).toEqual([['tombstone a', 'chunk b'], ['chunk c']]);
    expect(batches[1]?.[0]?.append.movedFrom).toBeUndefined();
  });

  it('refuses more than may wait, and takes it again later', async () => {
    const payload = Buffer.alloc(4 << 20);
    const { head } = record('a');
    const large: Append = {
      head: { ...head, length: payload.length, blocks: blockChecksums(payload) },
      bytes: payload,
    };
    const appends = Array.from({ length: 40 }, () => writer.append(large));
    const results = await Promise.allSettled(appends);
    expect(results[30]).toMatchObject({ status: 'fulfilled' });
    expect(results[31]).toMatchObject({ reason: { code: 'OVERLOADED' } });
    expect(writer.pendingBytes).toBe(0);
    await writer.append(record('b'));
  });

  it('goes on when what failed was lacking only for a while, and never after a failure of the disk', async () => {
    for (const [code, expected] of [
      ['EMFILE', 'OVERLOADED'],
      ['ENOSPC', 'ENOSPC'],
      ['EDQUOT', 'ENOSPC'],
    ] as const) {
      notReady = code;
      await expect(writer.append(record('a'))).rejects.toMatchObject({ code: expected });
      notReady = undefined;
      await writer.append(record('b'));
    }
    notReady = 'EIO';
    await expect(writer.append(record('a'))).rejects.toMatchObject({ code: 'DISK_FAILED' });
    notReady = undefined;
    await expect(writer.append(record('b'))).rejects.toMatchObject({ code: 'DISK_FAILED' });
  });

  it('leaves nothing in the file of a batch that could not be entered', async () => {
    await writer.append(record('a'));
    notEntered = 'OVERLOADED';
    await expect(writer.append(record('b'))).rejects.toMatchObject({ code: 'OVERLOADED' });
    expect(statSync(files.path(1)).size).toBe(1024);
    notEntered = undefined;
    await writer.append(record('c'));
    expect(batches.map((batch) => batch.map(({ offset }) => offset))).toEqual([[0], [1024]]);
  });
});
