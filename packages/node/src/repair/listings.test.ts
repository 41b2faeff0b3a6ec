import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ListedChunk } from '../chunks/store.ts';
import { listing, missingFrom } from './listings.ts';

const listed = (counter: number): ListedChunk => ({
  chunk: makeChunkId(3 as PartitionId, 'abcdefabcdef', counter),
  length: counter + 1,
  copies: 0,
});
const counters = fc.uniqueArray(fc.nat(40)).map((all) => all.sort((a, b) => a - b));

/** Serves chunks in pages, as a store does. */
function pages(chunks: readonly ListedChunk[], count: number, asked: (ChunkId | '')[] = []) {
  return async (after: ChunkId | '') => {
    asked.push(after);
    const rest = chunks.filter(({ chunk }) => chunk > after);
    return { chunks: rest.slice(0, count), end: rest.length <= count };
  };
}

async function all<T>(from: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of from) items.push(item);
  return items;
}

describe('listings', () => {
  it('go on page by page, from wherever', async () => {
    await fc.assert(
      fc.asyncProperty(
        counters,
        fc.integer({ min: 1, max: 9 }),
        fc.nat(40),
        async (some, count, from) => {
          const chunks = some.map(listed);
          expect(await all(listing(pages(chunks, count)))).toEqual(chunks);
          const after = listed(from).chunk;
          const rest = chunks.filter(({ chunk }) => chunk > after);
          expect(await all(listing(pages(chunks, count), after))).toEqual(rest);
        },
      ),
    );
  });

  it('end at an empty page, whatever it says', async () => {
    expect(await all(listing(async () => ({ chunks: [], end: false })))).toEqual([]);
  });

  it('ask for no page beyond what is needed', async () => {
    const asked: (ChunkId | '')[] = [];
    const chunks = [1, 2, 3, 4, 5].map(listed);
    for await (const { length } of listing(pages(chunks, 2, asked))) if (length === 3) break;
    expect(asked).toEqual(['']);
  });

  it('merged, tell what the other one lacks', async () => {
    await fc.assert(
      fc.asyncProperty(
        counters,
        counters,
        fc.integer({ min: 1, max: 9 }),
        async (mine, theirs, count) => {
          const missing = missingFrom(
            listing(pages(mine.map(listed), count)),
            listing(pages(theirs.map(listed), 10 - count)),
          );
          expect(await all(missing)).toEqual(
            theirs.filter((counter) => !mine.includes(counter)).map(listed),
          );
        },
      ),
    );
  });
});
