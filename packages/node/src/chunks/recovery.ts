import type { ChunkId } from '@holdfast/protocol';
import type { ChunkIndex, ChunkPlace } from './chunk-index.ts';
import type { PartitionDigests } from './digests.ts';
import { recordBytes } from './record.ts';
import { scanSegment } from './scan.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { SegmentSpace } from './segment-space.ts';

interface RecoveryParts {
  readonly files: SegmentFiles;
  readonly index: ChunkIndex;
  readonly space: SegmentSpace;
  readonly digests: PartitionDigests;
  readonly segmentBytes: number;
  readonly onDamage: (fields: Readonly<Record<string, unknown>>) => void;
}

/**
 * Brings the index up to what the segments hold (all of it when it was lost) and answers where
 * writing goes on. Segments are read in order, so that a later record of a chunk wins.
 */
export async function recover(parts: RecoveryParts): Promise<{ segment: number; offset: number }> {
  const { files, index } = parts;
  let segments = await files.list();
  if (segments.length === 0) {
    await files.create(1, parts.segmentBytes);
    segments = [1];
  }
  await forgetMissing(index, new Set(segments));
  const last = segments.at(-1) ?? 1;
  let end = 0;
  for (const segment of segments) {
    const from = index.scannedUpTo(segment);
    if (segment !== last && from === Number.MAX_SAFE_INTEGER) continue;
    const stopped = await replay(parts, segment, from === Number.MAX_SAFE_INTEGER ? 0 : from);
    if (segment === last) end = stopped;
  }
  await account(parts, segments, last, end);
  await index.write([], { scanned: new Map([[last, end]]), sync: true });
  return { segment: last, offset: end };
}

/** Applies the records of a segment to the index; answers the end of the last one. */
async function replay(parts: RecoveryParts, segment: number, from: number): Promise<number> {
  const { files, index, onDamage } = parts;
  const file = await files.file(segment);
  const { records, end } = await scanSegment(file, from, (offset, bytes) =>
    onDamage({ segment, offset, bytes }),
  );
  const changes = new Map<ChunkId, ChunkPlace | undefined>();
  for (const { head, offset, isWhole } of records) {
    const { chunk, length, blocks } = head;
    // A damaged record must not hide a sound one of before; alone, it says which chunk is bad here.
    if (!isWhole && (changes.has(chunk) || index.get(chunk) !== undefined)) continue;
    changes.set(chunk, head.kind === 'chunk' ? { segment, offset, length, blocks } : undefined);
  }
  await index.write([...changes].map(([chunk, place]) => ({ chunk, place })));
  return end;
}

/** An index from before a compaction may name segments that are gone. */
async function forgetMissing(index: ChunkIndex, present: ReadonlySet<number>): Promise<void> {
  const lost: { chunk: ChunkId; place: undefined }[] = [];
  for await (const [chunk, place] of index.all()) {
    if (!present.has(place.segment)) lost.push({ chunk, place: undefined });
  }
  await index.write(lost);
}

/** Counts live and dead bytes of each segment, and the chunks of each partition. */
async function account(
  { files, index, space, digests }: RecoveryParts,
  segments: readonly number[],
  last: number,
  end: number,
): Promise<void> {
  for await (const [chunk, place] of index.all()) {
    space.lived(place.segment, recordBytes(place.length));
    digests.added(chunk);
  }
  for (const segment of segments) {
    const used = segment === last ? end : await usedBytes(files, segment);
    space.dead(segment, Math.max(0, used - space.of(segment).live));
  }
}

/** Bytes of a closed segment that may hold records; what was set aside and never used counts as dead. */
async function usedBytes(files: SegmentFiles, segment: number): Promise<number> {
  return (await (await files.file(segment)).stat()).size;
}
