import type { ChunkId, InodeNumber } from '@holdfast/protocol';
import { REGION_BYTES } from '../content/content-editor.ts';
import { isCutOff } from '../content/cuts.ts';
import { type Piece, tallyOf } from '../content/pieces.ts';
import { KIND, numberIn } from '../keys.ts';
import { REGION, type RegionRecord, type VolumeRecord } from '../records.ts';
import { type Census, type Counted, isBorn, type VolumeCensus } from './census.ts';
import type { Report } from './names.ts';

/** Regions, blobs, chunks and bytes in use of one volume. */
export function checkContents(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  const allocated = new Map<InodeNumber, { bytes: number; inline: number }>();
  for (const region of found.regions) {
    const owner = checkRegion(census, found, region, report);
    if (!isBorn(region.record, volume)) report('a region was born in a generation still to come');
    if (owner === undefined) continue;
    const sum = allocated.get(owner) ?? { bytes: 0, inline: 0 };
    const { bytes, inlineBytes } = tallyOf(region.record.pieces);
    sum.bytes += bytes;
    sum.inline += inlineBytes;
    allocated.set(owner, sum);
  }
  checkSums(census, found, volume, { allocated, report });
  checkBlobs(found, report);
  checkChunks(census, found, report);
}

/** Checks one region; gives the inode that counts its bytes, undefined when it is garbage. */
function checkRegion(
  census: Census,
  found: VolumeCensus,
  { at, record }: Counted<RegionRecord>,
  report: Report,
): InodeNumber | undefined {
  const content: number = at.ino;
  const say: Report = (problem) => report(`region ${at.number} of content ${content}: ${problem}`);
  checkPieces(found, record.pieces, say);
  if (census.deadContents.has(`${found.number} ${content}`)) return undefined;
  const owner = record.owner === 0 ? at.ino : record.owner;
  const inode = found.inodes.get(owner);
  if (inode === undefined || inode.content !== content) {
    say('no inode shows it');
    return undefined;
  }
  if (isCutOff(inode.cuts, at.number, record)) return owner;
  if (at.number >= inode.regionEnd) say('it lies behind the last region');
  const base = at.number * REGION_BYTES;
  const behind = record.pieces.some(
    (piece) => piece.source.kind !== 'zero' && base + piece.at + piece.length > inode.size,
  );
  if (behind) say('it has data behind the end of file');
  if (record.epoch > inode.epoch || record.modified > inode.contentVersion) say('it is too new');
  return owner;
}

function checkPieces(found: VolumeCensus, pieces: readonly Piece[], say: Report): void {
  if (pieces.length === 0) say('it is empty');
  let end = 0;
  for (const { at, length, source } of pieces) {
    if (at < end || length < 1) say('its pieces overlap or are empty');
    end = at + length;
    if (source.kind !== 'chunk') continue;
    const chunk = found.chunks.get(source.chunk);
    if (chunk === undefined) say(`chunk ${source.chunk} is not known`);
    else if (source.offset + length > chunk.length) say('a piece reaches behind its chunk');
  }
  if (end > REGION_BYTES) say('its pieces reach behind its end');
}

interface Sums {
  readonly allocated: ReadonlyMap<InodeNumber, { readonly bytes: number; readonly inline: number }>;
  readonly report: Report;
}

function checkSums(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  { allocated, report }: Sums,
): void {
  let usedBytes = 0;
  for (const [ino, inode] of found.inodes) {
    const { bytes, inline } = allocated.get(ino) ?? { bytes: 0, inline: 0 };
    usedBytes += inode.allocatedBytes;
    if (inode.allocatedBytes !== bytes) {
      report(`inode ${ino}: ${inode.allocatedBytes} bytes counted, ${bytes} there`);
    }
    if (inode.inlineBytes !== inline) {
      report(`inode ${ino}: ${inode.inlineBytes} inline bytes counted, ${inline} there`);
    }
    const name = `${found.number} ${ino}`;
    if (census.inlineFiles.has(name) !== inline > 0) report(`inode ${ino}: mark of inline bytes`);
    for (const { epoch } of inode.cuts) {
      if (!census.contentCuts.has(`${name} ${epoch}`)) report(`inode ${ino}: a cut without mark`);
    }
  }
  if (usedBytes !== volume.usedBytes) {
    report(`${volume.usedBytes} bytes in use counted, ${usedBytes} there`);
  }
}

/** A blob's name: content, region, number. */
function blobName(content: number, region: number, blob: number): string {
  return `${content} ${region} ${blob}`;
}

const BLOB_AT = { content: 4, region: 9, blob: 14 } as const;

function checkBlobs(found: VolumeCensus, report: Report): void {
  const lengths = new Map<string, number>();
  for (const { key, record } of found.blobs) {
    const content = numberIn(key, BLOB_AT.content, 5);
    const name = blobName(
      content,
      numberIn(key, BLOB_AT.region, 5),
      numberIn(key, BLOB_AT.blob, 6),
    );
    lengths.set(name, record.bytes.length);
  }
  const shown = new Set<string>();
  for (const { at, record } of found.regions) {
    for (const { source, length } of record.pieces) {
      if (source.kind !== 'blob') continue;
      const name = blobName(at.ino, at.number, source.blob);
      shown.add(name);
      const bytes = lengths.get(name);
      if (bytes === undefined || source.offset + length > bytes) report(`blob ${name} is short`);
      if (source.blob >= record.nextBlob) report(`blob ${name} has a number not given yet`);
    }
  }
  for (const name of lengths.keys()) if (!shown.has(name)) report(`nothing shows blob ${name}`);
}

/** Live bytes of a volume's chunks; a clone's pieces may show chunks of other volumes. */
export function checkChunks(census: Census, found: VolumeCensus, report: Report): void {
  const live = new Map<ChunkId, number>();
  const count = (pieces: readonly Piece[]): void => {
    for (const [chunk, bytes] of tallyOf(pieces).chunks) {
      live.set(chunk, (live.get(chunk) ?? 0) + bytes);
    }
  };
  for (const { record } of found.regions) count(record.pieces);
  for (const { key, record } of found.history) {
    if (record.birth >= record.death) report('an older version that no generation saw');
    const isRegion = key[HISTORY_KIND_AT] === KIND.region;
    if (isRegion) count(REGION.decode(record.record).pieces);
  }
  const freed = new Map(census.freedChunks.map(({ at, record }) => [at.number, record]));
  for (const [chunk, record] of found.chunks) {
    const bytes = live.get(chunk) ?? 0;
    if (record.liveBytes !== bytes) {
      report(`chunk ${chunk}: ${record.liveBytes} live bytes counted, ${bytes} there`);
    }
    if ((record.freed === 0) !== bytes > 0) report(`chunk ${chunk}: freed exactly when unused`);
    if (record.freed !== 0 && freed.get(record.freed)?.chunk !== chunk) {
      report(`chunk ${chunk}: it is not where it should be in the list of freed chunks`);
    }
  }
  // Of a shadow: check/trees.ts.
  if (found.volume?.baseVolume !== 0 || found.volume.isShadow) return;
  for (const chunk of live.keys())
    if (!found.chunks.has(chunk)) report(`chunk ${chunk} is unknown`);
}

/** Volume, kind of history, then the head's kind. */
const HISTORY_KIND_AT = 4;
