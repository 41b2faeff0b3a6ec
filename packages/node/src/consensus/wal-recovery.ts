/** Reading the segments back after a stop or a crash. */

import { HoldfastError } from '@holdfast/protocol';
import { decodeMembership, type Entry } from '@holdfast/raft';
import { GroupLog, type ReadBack } from './group-log.ts';
import type { LogDisk, LogFile } from './log-disk.ts';
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  bufferOf,
  decodeBatchHeader,
  decodeRecord,
  decodeSegmentHeader,
  getU53,
  RECORD,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type WalRecord,
} from './wal-format.ts';

/** A segment that holds batches. */
export interface Segment {
  readonly header: SegmentHeader;
  readonly file: LogFile;
}

/** What the segments say. */
export interface Recovered {
  /** Ascending; the last one is written on. */
  readonly segments: Segment[];
  readonly groups: Map<number, GroupLog>;
  /** Number of the next batch, and where in the last segment it goes. */
  readonly nextBatch: number;
  readonly end: number;
  /** Bytes of a write that a crash cut off, now zeros. */
  readonly tornBytes: number;
}

/** Name of a segment's file. */
export function segmentName(number: number): string {
  return `${number.toString(16).padStart(16, '0')}.wal`;
}

/** Bytes at the beginning of a file that tell whether anything was ever written to it. */
const UNUSED_BYTES = 4096;
const SEGMENT_NAME = /^[0-9a-f]{16}\.wal$/;

/** What the operator is told when own records are damaged. */
export function corrupt(what: string, detail: Readonly<Record<string, unknown>>): HoldfastError {
  return new HoldfastError(
    'CORRUPT',
    `write-ahead log: ${what}. This replica must not vote with what is left. If a majority of the ` +
      `peers is healthy, move this peer's data directory away and run 'holdfast join' with a new ` +
      `token: it comes back as a new peer and is rebuilt from the others`,
    { detail },
  );
}

/**
 * Opens all segments and replays them. A last batch that was cut off is zeroed; anything else that
 * is not as it was written throws CORRUPT, a later format NEWER_FORMAT.
 */
export async function recover(
  disk: LogDisk,
  readBack: ReadBack,
  cacheBytesMax: number,
): Promise<Recovered> {
  const replay = new Replay(readBack);
  const segments: Segment[] = [];
  let end = 0;
  let tornBytes = 0;
  const candidates = await openCandidates(disk);
  for (const [i, segment] of candidates.entries()) {
    const { header, file } = segment;
    const bytes = bufferOf(await file.read(0, header.length));
    replay.beginSegment(header, segments.at(-1)?.header);
    end = replay.batches(bytes, header);
    const damagedEnd = lastNonZero(bytes) + 1;
    if (damagedEnd > end) {
      refuseUnlessTorn(bytes, segment, end, i === candidates.length - 1);
      tornBytes = damagedEnd - end;
      await file.write([new Uint8Array(tornBytes)], end);
      await file.sync();
    }
    segments.push(segment);
    evictAbove(replay.groups, cacheBytesMax);
  }
  replay.finish();
  return { segments, groups: replay.groups, nextBatch: replay.nextBatch, end, tornBytes };
}

/** Drops entries from memory, of the group that has most, until all together have at most so many bytes. */
export function evictAbove(groups: ReadonlyMap<number, GroupLog>, bytesMax: number): number {
  let total = 0;
  for (const log of groups.values()) total += log.cachedBytes;
  if (total <= bytesMax) return total;
  const logs = [...groups.values()].sort((a, b) => b.cachedBytes - a.cachedBytes);
  for (const log of logs) {
    if (total <= bytesMax) break;
    const before = log.cachedBytes;
    log.evict(total - bytesMax);
    total -= before - log.cachedBytes;
  }
  return total;
}

/** Segments with a header; files of zeros (made ahead, never used) and cut-off ones are removed. */
async function openCandidates(disk: LogDisk): Promise<Segment[]> {
  const names = (await disk.list()).filter((name) => SEGMENT_NAME.test(name)).sort();
  const segments: Segment[] = [];
  for (const [i, name] of names.entries()) {
    const file = await disk.open(name);
    const size = await file.size();
    const head = await file.read(0, Math.min(size, SEGMENT_HEADER_BYTES));
    const header = decodeSegmentHeader(head);
    if (header === 'newer') {
      throw new HoldfastError('NEWER_FORMAT', `write-ahead log: a newer version wrote ${name}`);
    }
    const isWhole = header !== undefined && header.length === size;
    if (isWhole && segmentName(header.number) === name) {
      segments.push({ header, file });
      continue;
    }
    // The header was durable before the first batch, and that comes right behind it.
    const isUnused = await isZero(file, SEGMENT_HEADER_BYTES, Math.min(size, UNUSED_BYTES));
    if (isWhole || i !== names.length - 1 || !isUnused) {
      throw corrupt('a segment has a damaged header or length', { file: name });
    }
    await file.close();
    await disk.remove(name);
  }
  return segments;
}

async function isZero(file: LogFile, from: number, to: number): Promise<boolean> {
  return from >= to || lastNonZero(bufferOf(await file.read(from, to - from))) === -1;
}

function lastNonZero(bytes: Buffer): number {
  let at = bytes.length - 1;
  while (at >= 0 && bytes[at] === 0) at -= 1;
  return at;
}

/** Bytes after the last good batch: a crash can only have cut off the newest batch of the newest segment. */
function refuseUnlessTorn(bytes: Buffer, segment: Segment, end: number, isLast: boolean): void {
  const detail = { file: segmentName(segment.header.number), offset: end };
  if (!isLast) throw corrupt('a record is damaged, and a later segment follows', detail);
  // A batch is only written when the one before it is durable; batches begin at multiples of 8.
  for (let at = end + 8; at + BATCH_HEADER_BYTES <= bytes.length; at += 8) {
    if (bytes.readUInt32LE(at) !== BATCH_MAGIC) continue;
    if (decodeBatchHeader(bytes, at, segment.header.salt) !== undefined) {
      throw corrupt('a record is damaged, and later ones follow', { ...detail, next: at });
    }
  }
}

class Replay {
  readonly groups = new Map<number, GroupLog>();
  readonly #readBack: ReadBack;
  /** Groups whose first records here are not the first of their log: a mark must still come. */
  readonly #unanchored = new Set<number>();
  #segment = 0;
  nextBatch = 1;

  constructor(readBack: ReadBack) {
    this.#readBack = readBack;
  }

  beginSegment(header: SegmentHeader, before: SegmentHeader | undefined): void {
    const isNext = header.number === (before?.number ?? header.number - 1) + 1;
    if (!isNext) throw corrupt('a segment is missing', { before: segmentName(header.number) });
    if (before !== undefined && header.firstBatch !== this.nextBatch) {
      throw corrupt('a record is damaged at the end of a segment', {
        file: segmentName(before.number),
      });
    }
    this.nextBatch = header.firstBatch;
    this.#segment = header.number;
  }

  /** Applies the good batches of a segment; returns the offset after the last one. */
  batches(bytes: Buffer, { salt }: SegmentHeader): number {
    let at = SEGMENT_HEADER_BYTES;
    for (;;) {
      const header = decodeBatchHeader(bytes, at, salt);
      if (header === undefined || header.number !== this.nextBatch) return at;
      const records = readRecords(bytes, at + BATCH_HEADER_BYTES, header, salt);
      if (records === undefined) return at;
      for (const { record, offset } of records) this.#apply(record, offset);
      this.nextBatch += 1;
      at += BATCH_HEADER_BYTES + header.bytes;
    }
  }

  #apply(record: WalRecord, offset: number): void {
    if (record.type === RECORD.closed) return;
    const { group } = record;
    if (record.type === RECORD.reset) {
      this.groups.delete(group);
      this.#unanchored.delete(group);
      return;
    }
    const place = { segment: this.#segment, offset };
    const log = this.#logOf(group);
    if (record.type === RECORD.entry) this.#entry(log, record, place.offset);
    else if (record.type === RECORD.hardState) {
      const vote = getU53(bufferOf(record.payload), 0);
      log.hardState = { term: record.term, vote, commit: record.index };
      log.hardStatePlace = place;
    } else if (record.type === RECORD.mark) {
      const membership = decodeMembership(record.payload);
      const mark = { index: record.index, term: record.term, membership };
      if (mark.index > log.lastIndex()) log.restart(mark);
      else log.compact(mark);
      log.markPlace = place;
      this.#unanchored.delete(group);
    } else throw corrupt('a record of a type not known', { type: record.type, offset });
  }

  #entry(log: GroupLog, record: WalRecord, offset: number): void {
    const entry = entryOf(record);
    if (log.lastIndex() === 0 && entry.index > 1) {
      // Earlier entries were compacted away with their segment; the mark comes with a later record.
      log.restart({ ...log.snapshot(), index: entry.index - 1 });
      this.#unanchored.add(log.group);
    }
    const isInReach = entry.index <= log.lastIndex() + 1 && entry.index >= log.firstIndex();
    if (!isInReach) {
      throw corrupt('entries have a gap', { group: log.group, index: entry.index, offset });
    }
    log.append([entry], { segment: this.#segment, offset });
  }

  #logOf(group: number): GroupLog {
    let log = this.groups.get(group);
    if (log === undefined) {
      log = new GroupLog(group, this.#readBack);
      this.groups.set(group, log);
    }
    return log;
  }

  finish(): void {
    for (const group of this.#unanchored)
      throw corrupt('the mark of a group is missing', { group });
    for (const log of this.groups.values()) {
      const { term, vote, commit } = log.hardState;
      const last = log.lastIndex();
      const lastTerm = log.term(last);
      const termMin = typeof lastTerm === 'number' ? lastTerm : 0;
      // A batch may end between the entries of a new term and its hard state: no vote was given in
      // that term then. A commit index may have been written ahead of entries that were cut off.
      log.hardState = {
        term: Math.max(term, termMin),
        vote: term < termMin ? 0 : vote,
        commit: Math.min(Math.max(commit, log.snapshot().index), last),
      };
    }
  }
}

/** The entry that an entry record holds. */
export function entryOf(record: WalRecord): Entry {
  const kind = record.kind === 1 ? 'membership' : 'normal';
  // A copy: the payload is a view that would keep a whole segment in memory.
  const data = new Uint8Array(record.payload);
  return { index: record.index, term: record.term, kind, data };
}

function readRecords(
  bytes: Buffer,
  from: number,
  header: { readonly bytes: number; readonly count: number },
  salt: number,
): { record: WalRecord; offset: number }[] | undefined {
  const records: { record: WalRecord; offset: number }[] = [];
  const end = from + header.bytes;
  let at = from;
  while (records.length < header.count) {
    const record = decodeRecord(bytes.subarray(0, Math.min(end, bytes.length)), at, salt);
    if (record === undefined) return undefined;
    records.push({ record, offset: at });
    at += recordBytes(record.payload.length);
  }
  return at === end ? records : undefined;
}
