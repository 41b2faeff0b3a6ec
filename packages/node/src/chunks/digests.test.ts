import { type ChunkId, makeChunkId, type PartitionId } from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PartitionDigests } from './digests.ts';

const PARTITIONS = [0, 7, 16_383] as PartitionId[];
const chunkIds = fc
  .tuple(fc.constantFrom(...PARTITIONS), fc.nat(50))
  .map(([partition, counter]) => makeChunkId(partition, 'abcdefabcdef', counter));

function digestsOf(chunks: Iterable<ChunkId>): PartitionDigests {
  const digests = new PartitionDigests();
  for (const chunk of chunks) digests.added(chunk);
  return digests;
}

describe('the digests of partitions', () => {
  it('depend on what is there, not on how it came to be', () => {
    fc.assert(
      fc.property(fc.uniqueArray(chunkIds), fc.uniqueArray(chunkIds), (kept, passing) => {
        const gone = passing.filter((chunk) => !kept.includes(chunk));
        const digests = digestsOf([...gone, ...kept].reverse());
        for (const chunk of gone) digests.removed(chunk);
        const plain = digestsOf(kept);
        for (const partition of PARTITIONS)
          expect(digests.of(partition)).toEqual(plain.of(partition));
        expect([...digests.nonEmpty()]).toEqual([...plain.nonEmpty()]);
      }),
    );
  });

  it('differ when what is there differs', () => {
    fc.assert(
      fc.property(fc.uniqueArray(chunkIds), chunkIds, (chunks, extra) => {
        const without = digestsOf(chunks.filter((chunk) => chunk !== extra));
        const withIt = digestsOf(new Set([...chunks, extra]));
        const partition = Number.parseInt(extra.slice(0, 4), 16) as PartitionId;
        expect(withIt.of(partition)).not.toEqual(without.of(partition));
        const twin = makeChunkId(partition, 'abcdefabcdee', 3);
        expect(withIt.of(partition)).not.toEqual(
          digestsOf([...chunks.filter((chunk) => chunk !== extra), twin]).of(partition),
        );
      }),
    );
  });

  it('tells what changed since a version, emptied partitions too', () => {
    const [first, second] = PARTITIONS.map((partition) =>
      makeChunkId(partition, 'a'.repeat(12), 1),
    );
    const digests = digestsOf([first as ChunkId]);
    const { version } = digests;
    expect(digests.changedSince(version)).toEqual([]);
    digests.added(second as ChunkId);
    digests.removed(first as ChunkId);
    expect(digests.changedSince(version).map(([partition, count]) => [partition, count])).toEqual([
      [0, 0],
      [7, 1],
    ]);
  });
});
