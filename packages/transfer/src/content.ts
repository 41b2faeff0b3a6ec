/** Inodes of a snapshot as frames: what they hold and what they are. */
import { HoldfastError } from '@holdfast/protocol';
import type { ByteRange, SourceEntry, SourceFile, TreeSource, Xattr } from '@holdfast/tree';
import type { Frame } from './frames.ts';
import { STREAM_LIMITS } from './limits.ts';

/** An inode and what is sent of it. */
export interface Content {
  /** From the source's root; '' for the root itself. */
  readonly path: string;
  readonly entry: SourceEntry;
  /** Of a file that the receiver has: what may differ there. Absent: all of it is new. */
  readonly ranges?: readonly ByteRange[];
  /** Whether the bytes of a file are sent at all. */
  readonly hasBytes: boolean;
  /** Of a file that is new: where its bytes begin that are sent; 0. */
  readonly from?: number;
  /** Whether further frames name it. */
  readonly isKept: boolean;
}

/** What was read of an inode ahead of its turn. */
export interface PreparedContent extends Content {
  readonly xattrs: readonly Xattr[];
  /** All frames with its bytes, where there are few. */
  readonly bytes?: readonly Frame[];
}

/** Reads what {@link contentFrames} needs, as long as that is little. */
export async function prepareContent(
  source: TreeSource,
  content: Content,
): Promise<PreparedContent> {
  const { path, entry, ranges } = content;
  const xattrs = await source.xattrs(path, entry);
  if (!content.hasBytes || entry.kind !== 'file') return { ...content, xattrs, bytes: [] };
  const whole = [{ offset: 0, length: entry.size }];
  const length = (ranges ?? whole).reduce((sum, range) => sum + range.length, 0);
  if (length > STREAM_LIMITS.aheadBytes) return { ...content, xattrs };
  const bytes: Frame[] = [];
  for await (const frame of byteFrames(source, content)) bytes.push(frame);
  return { ...content, xattrs, bytes };
}

/** The frames with an inode's bytes, and the one with its attributes. */
export async function* contentFrames(
  source: TreeSource,
  content: PreparedContent,
): AsyncGenerator<Frame> {
  yield* content.bytes ?? byteFrames(source, content);
  const { entry, xattrs, isKept } = content;
  const { size, mode, uid, gid, atimeNs, mtimeNs } = entry;
  const id = Number(entry.inode);
  yield { frame: 'finish', id, size, mode, uid, gid, atimeNs, mtimeNs, xattrs, isKept };
}

async function* byteFrames(
  source: TreeSource,
  { path, entry, ranges, from = 0 }: Content,
): AsyncGenerator<Frame> {
  const id = Number(entry.inode);
  const file = await source.open(path, entry);
  try {
    const { size } = file;
    if (ranges === undefined) {
      const all = [{ offset: 0, length: size }];
      for (const { offset, length } of (await file.dataRanges()) ?? all) {
        const begin = Math.max(offset, from);
        const end = offset + length;
        if (end > begin) yield* dataFrames(id, file, { offset: begin, length: end - begin });
      }
      return;
    }
    yield { frame: 'size', id, size };
    for (const { offset, length } of ranges) {
      const end = Math.min(size, offset + length);
      if (end > offset) yield* changedFrames(id, file, { offset, length: end - offset });
    }
  } finally {
    await file.close();
  }
}

/** Data and holes of a range that has other bytes at the receiver. */
async function* changedFrames(
  id: number,
  file: SourceFile,
  range: ByteRange,
): AsyncGenerator<Frame> {
  const end = range.offset + range.length;
  let at = range.offset;
  for (const data of (await file.dataRanges(range)) ?? [range]) {
    const from = Math.max(at, data.offset);
    const to = Math.min(end, data.offset + data.length);
    if (to <= from) continue;
    if (from > at) yield { frame: 'hole', id, offset: at, length: from - at };
    yield* dataFrames(id, file, { offset: from, length: to - from });
    at = to;
  }
  if (at < end) yield { frame: 'hole', id, offset: at, length: end - at };
}

async function* dataFrames(
  id: number,
  file: SourceFile,
  { offset, length }: ByteRange,
): AsyncGenerator<Frame> {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const bytes = Buffer.allocUnsafe(Math.min(STREAM_LIMITS.dataBytesMax, end - at));
    if ((await file.read(bytes, at)) < bytes.length)
      throw new HoldfastError('CORRUPT', `inode ${id} of a snapshot is shorter than it was`);
    yield { frame: 'data', id, offset: at, bytes };
    at += bytes.length;
  }
}
