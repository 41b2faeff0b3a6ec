/** Listings of a partition, page by page, and what one of them has that another lacks. */
import type { ChunkId } from '@holdfast/protocol';
import type { ListedChunk } from '../chunks/store.ts';

/** One page: chunks in order of their ids; `end` when nothing follows. */
export interface ListingPage {
  readonly chunks: readonly ListedChunk[];
  readonly end: boolean;
}

/** The chunks of a listing after an id ('': all), in order; pages are asked for as they are needed. */
export async function* listing(
  page: (after: ChunkId | '') => Promise<ListingPage>,
  from: ChunkId | '' = '',
): AsyncGenerator<ListedChunk> {
  let after = from;
  for (;;) {
    const { chunks, end } = await page(after);
    yield* chunks;
    const last = chunks.at(-1);
    // An empty page that is not the last would go on for ever.
    if (end || last === undefined) return;
    after = last.chunk;
  }
}

/** Chunks of `theirs` that are not in `mine`; both in order of their ids. */
export async function* missingFrom(
  mine: AsyncIterable<ListedChunk>,
  theirs: AsyncIterable<ListedChunk>,
): AsyncGenerator<ListedChunk> {
  const own = mine[Symbol.asyncIterator]();
  let next = await own.next();
  for await (const listed of theirs) {
    while (next.done !== true && next.value.chunk < listed.chunk) next = await own.next();
    if (next.done === true || next.value.chunk !== listed.chunk) yield listed;
  }
}
