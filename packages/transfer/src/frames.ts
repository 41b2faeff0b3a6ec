/**
 * Frames of a stream and their bytes. The layout of the whole: docs/send-stream.md.
 *
 * Inodes go by the numbers that they have at the sender; 1 is the root, which both sides have.
 */
import { type FileKind, LIMITS, ROOT_INODE } from '@holdfast/protocol';
import { isReservedName, isSafeName, type Xattr } from '@holdfast/tree';
import { damaged, FieldReader, FieldWriter } from './fields.ts';
import { decodeHeader, encodeHeader, type StreamHeader } from './header.ts';
import { STREAM_LIMITS } from './limits.ts';

/** A name in a directory. */
interface Place {
  readonly parent: number;
  /** Latin1. */
  readonly name: string;
}

/** What an inode is in the end. */
export interface Finish {
  readonly id: number;
  /** Bytes of a regular file; 0 for others. */
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  /** All that it has. */
  readonly xattrs: readonly Xattr[];
  /** Further frames name it. */
  readonly isKept: boolean;
}

/** One frame. Those of an incremental stream come in three parts: `locate`; `unlink` and `hold`; the rest. */
export type Frame =
  | { readonly frame: 'begin'; readonly header: StreamHeader }
  /** Where an inode is in the base. Behind that of its directory. */
  | ({ readonly frame: 'locate'; readonly id: number; readonly kind: FileKind } & Place)
  /** A name that goes, of anything but a directory. */
  | ({ readonly frame: 'unlink' } & Place)
  /** A name that an inode loses, which is kept aside: another name follows, or it goes at the end. */
  | ({ readonly frame: 'hold'; readonly id: number } & Place)
  | ({
      readonly frame: 'make';
      readonly id: number;
      readonly kind: FileKind;
      readonly rdev: bigint;
      readonly target: string;
    } & Place)
  /** The new name of what was kept aside. */
  | ({ readonly frame: 'place'; readonly id: number } & Place)
  /** A further name. `isLast`: no other frame names the inode. */
  | ({ readonly frame: 'link'; readonly id: number; readonly isLast: boolean } & Place)
  /** Cuts or extends a file, before what follows. */
  | { readonly frame: 'size'; readonly id: number; readonly size: number }
  | {
      readonly frame: 'data';
      readonly id: number;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  | {
      readonly frame: 'hole';
      readonly id: number;
      readonly offset: number;
      readonly length: number;
    }
  | ({ readonly frame: 'finish' } & Finish);

/** The last frame, which says that the stream is whole. */
export interface End {
  /** Of the frames before it. */
  readonly frames: number;
  readonly dataBytes: number;
  /** SHA-256 of all bytes before it. */
  readonly digest: Buffer;
}

/** Types of frames as they are stored: never changed, never used again. */
export const TYPES = {
  begin: 1,
  locate: 2,
  unlink: 3,
  hold: 4,
  make: 5,
  place: 6,
  link: 7,
  size: 8,
  data: 9,
  hole: 10,
  finish: 11,
} as const satisfies Record<Frame['frame'], number>;
/** The type of the last frame. */
export const END_TYPE = 12;
/** Bytes of the last frame. */
const END_BYTES = 48;

const NAMES = new Map<number, Frame['frame']>(
  Object.entries(TYPES).map(([name, type]) => [type, name as Frame['frame']]),
);
const KINDS: readonly FileKind[] = [
  'file',
  'directory',
  'symlink',
  'fifo',
  'socket',
  'char',
  'block',
];

/** The most bytes that a frame of a type may have; 0 for a type that there is not. */
export function bytesMaxOf(type: number): number {
  if (type === END_TYPE) return END_BYTES;
  if (type === TYPES.begin) return STREAM_LIMITS.headerBytesMax;
  if (type === TYPES.data) return STREAM_LIMITS.dataBytesMax + 16;
  return NAMES.has(type) ? STREAM_LIMITS.frameBytesMax : 0;
}

/** The bytes of a frame, without what stands around them. */
export function encodeFrame(frame: Frame): Buffer {
  const to = new FieldWriter();
  if (frame.frame === 'begin') return encodeHeader(frame.header);
  if (frame.frame === 'finish') return encodeFinish(to, frame);
  if (frame.frame !== 'unlink') to.u53(frame.id);
  switch (frame.frame) {
    case 'size':
      return to.u53(frame.size).bytes();
    case 'data':
      return to.u53(frame.offset).rest(frame.bytes).bytes();
    case 'hole':
      return to.u53(frame.offset).u53(frame.length).bytes();
    default:
  }
  to.u53(frame.parent).text(frame.name);
  if (frame.frame === 'locate' || frame.frame === 'make') to.u8(KINDS.indexOf(frame.kind));
  if (frame.frame === 'make') to.u64(frame.rdev).text(frame.target);
  if (frame.frame === 'link') to.u8(frame.isLast ? 1 : 0);
  return to.bytes();
}

function encodeFinish(to: FieldWriter, frame: Finish): Buffer {
  to.u53(frame.id).u53(frame.size).u16(frame.mode).u32(frame.uid).u32(frame.gid);
  to.i64(frame.atimeNs)
    .i64(frame.mtimeNs)
    .u8(frame.isKept ? 1 : 0)
    .u16(frame.xattrs.length);
  for (const { name, value } of frame.xattrs) to.text(name).u32(value.length).rest(value);
  return to.bytes();
}

/** A frame of its type and bytes; a `data` frame keeps a view of them. CORRUPT. */
export function decodeFrame(type: number, bytes: Buffer): Frame {
  const name = NAMES.get(type);
  if (name === undefined) throw damaged(`there is no frame of type ${type}`);
  if (name === 'begin') return { frame: name, header: decodeHeader(bytes) };
  const from = new FieldReader(bytes);
  const frame = fieldsOf(name, from);
  from.end();
  return frame;
}

function fieldsOf(frame: Exclude<Frame['frame'], 'begin'>, from: FieldReader): Frame {
  if (frame === 'unlink') return { frame, ...placeIn(from) };
  const id = idIn(from);
  switch (frame) {
    case 'size':
      return { frame, id, size: from.u53() };
    case 'data': {
      const offset = from.u53();
      const bytes = from.rest();
      if (bytes.length === 0) throw damaged('a frame of data has none');
      checkRange(offset, bytes.length);
      return { frame, id, offset, bytes };
    }
    case 'hole': {
      const [offset, length] = [from.u53(), from.u53()];
      if (length === 0) throw damaged('a hole has no length');
      checkRange(offset, length);
      return { frame, id, offset, length };
    }
    case 'finish':
      return { frame, ...finishIn(id, from) };
    case 'locate':
      return { frame, id: notRoot(id), ...placeIn(from), kind: kindIn(from) };
    case 'make':
      return makeIn(notRoot(id), from);
    case 'link':
      return { frame, id: notRoot(id), ...placeIn(from), isLast: flagIn(from) };
    default:
      return { frame, id: notRoot(id), ...placeIn(from) };
  }
}

function makeIn(id: number, from: FieldReader): Frame {
  const place = placeIn(from);
  const [kind, rdev, target] = [kindIn(from), from.u64(), from.text()];
  const isDevice = kind === 'char' || kind === 'block';
  if (rdev > 0xffff_ffffn || (rdev !== 0n && !isDevice)) throw damaged('a device has no number');
  const isTarget =
    target.length > 0 && target.length <= LIMITS.symlinkBytesMax && !target.includes('\0');
  if (kind === 'symlink' ? !isTarget : target !== '') throw damaged('a link has no target');
  return { frame: 'make', id, ...place, kind, rdev, target };
}

function finishIn(id: number, from: FieldReader): Finish {
  const [size, mode, uid, gid] = [from.u53(), from.u16(), from.u32(), from.u32()];
  if (mode > 0o7777) throw damaged('a mode is none');
  const [atimeNs, mtimeNs, isKept, count] = [from.i64(), from.i64(), flagIn(from), from.u16()];
  if (count > STREAM_LIMITS.xattrsMax) throw damaged('an inode has too many attributes');
  const xattrs: Xattr[] = [];
  for (let i = 0; i < count; i++) {
    const name = from.text();
    if (name === '' || name.length > LIMITS.xattrNameBytesMax || name.includes('\0'))
      throw damaged('the name of an attribute is none');
    // A copy: the view would keep the whole frame.
    xattrs.push({ name, value: Buffer.from(from.take(from.u32())) });
  }
  return { id, size, mode, uid, gid, atimeNs, mtimeNs, xattrs, isKept };
}

function placeIn(from: FieldReader): Place {
  const parent = idIn(from);
  const name = from.text();
  const isName = isSafeName(name) && name.length <= LIMITS.nameBytesMax;
  // In the root some names are not content.
  if (!isName || (parent === ROOT_INODE && isReservedName(name)))
    throw damaged(`${JSON.stringify(name.slice(0, 80))} is no name for a file`);
  return { parent, name };
}

function idIn(from: FieldReader): number {
  const id = from.u53();
  if (id === 0 || id > LIMITS.inodesMax) throw damaged('the number of an inode is none');
  return id;
}

function notRoot(id: number): number {
  if (id === ROOT_INODE) throw damaged('the root has no name');
  return id;
}

function kindIn(from: FieldReader): FileKind {
  const kind = KINDS[from.u8()];
  if (kind === undefined) throw damaged('there is no such kind of file');
  return kind;
}

function flagIn(from: FieldReader): boolean {
  const flag = from.u8();
  if (flag > 1) throw damaged('a flag is neither 0 nor 1');
  return flag === 1;
}

function checkRange(offset: number, length: number): void {
  if (offset + length > LIMITS.fileBytesMax) throw damaged('a file would be too large');
}

/** The bytes of the last frame. */
export function encodeEnd({ frames, dataBytes, digest }: End): Buffer {
  return new FieldWriter().u53(frames).u53(dataBytes).rest(digest).bytes();
}

/** The reverse. CORRUPT. */
export function decodeEnd(bytes: Buffer): End {
  const from = new FieldReader(bytes);
  const end = { frames: from.u53(), dataBytes: from.u53(), digest: from.take(32) };
  from.end();
  return end;
}
