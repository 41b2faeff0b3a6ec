/** Records of a zip archive (PKWARE APPNOTE 6.3.10; extra fields of Info-ZIP's proginfo/extrafld.txt). */

/** Above this a number stands in the zip64 extra field. */
const ZIP32_MAX = 0xffff_ffff;
const NS_PER_S = 1_000_000_000n;
const NEEDS_PLAIN = 20;
const NEEDS_ZIP64 = 45;
/** Written on Unix: external attributes hold st_mode. */
const MADE_ON_UNIX = 3 << 8;
const SECONDS_MAX = 2n ** 31n - 1n;
const SECONDS_MIN = -(2n ** 31n);

/** Bits of the general purpose flag. */
export const ZIP_FLAG = { encrypted: 1, descriptor: 8, utf8: 0x800 } as const;

/** An entry as its records need it. */
export interface ZipEntry {
  readonly name: Buffer;
  readonly flags: number;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  /** st_mode with the type. */
  readonly mode: number;
  readonly isDirectory: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  /** Offset of its local header. */
  readonly offset: number;
  /** Sizes take 8 bytes in its local header and descriptor. */
  readonly isWide: boolean;
}

/** What is known of content after it was written. */
export interface ZipSizes {
  readonly crc: number;
  readonly packed: number;
  readonly plain: number;
}

function floorSeconds(ns: bigint): bigint {
  const rest = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
  return (ns - rest) / NS_PER_S;
}

/** Time and date of MS-DOS in UTC, in steps of two seconds, 1980 to 2107. */
function dosTime(ns: bigint): { time: number; date: number } {
  const seconds = Number(floorSeconds(ns));
  const date = new Date(Math.min(Math.max(seconds, 315_532_800), 4_354_819_198) * 1_000);
  return {
    time: (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1),
    date:
      ((date.getUTCFullYear() - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate(),
  };
}

function extra(id: number, data: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(id, 0);
  head.writeUInt16LE(data.length, 2);
  return Buffer.concat([head, data]);
}

/** "UT": both times in the local header, in the central one only the first. */
function timesExtra({ mtimeNs, atimeNs }: ZipEntry, isCentral: boolean): Buffer {
  const [mtime, atime] = [floorSeconds(mtimeNs), floorSeconds(atimeNs)];
  if ([mtime, atime].some((time) => time > SECONDS_MAX || time < SECONDS_MIN))
    return Buffer.alloc(0);
  const data = Buffer.alloc(isCentral ? 5 : 9);
  data.writeUInt8(3, 0);
  data.writeInt32LE(Number(mtime), 1);
  if (!isCentral) data.writeInt32LE(Number(atime), 5);
  return extra(0x5455, data);
}

/** "ux": owner and group of 32 bits. */
function ownerExtra({ uid, gid }: ZipEntry): Buffer {
  const data = Buffer.alloc(11);
  data.writeUInt8(1, 0);
  data.writeUInt8(4, 1);
  data.writeUInt32LE(uid, 2);
  data.writeUInt8(4, 6);
  data.writeUInt32LE(gid, 7);
  return extra(0x7875, data);
}

function zip64Extra(values: readonly number[]): Buffer {
  if (values.length === 0) return Buffer.alloc(0);
  const data = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) data.writeBigUInt64LE(BigInt(value), index * 8);
  return extra(0x0001, data);
}

/** The local header; without `sizes` a descriptor follows the content. */
export function localHeader(entry: ZipEntry, sizes?: ZipSizes): Buffer {
  const { plain = 0, packed = 0, crc = 0 } = sizes ?? {};
  const extras = Buffer.concat([
    entry.isWide ? zip64Extra([plain, packed]) : Buffer.alloc(0),
    timesExtra(entry, false),
    ownerExtra(entry),
  ]);
  const { time, date } = dosTime(entry.mtimeNs);
  const head = Buffer.alloc(30);
  head.writeUInt32LE(0x04034b50, 0);
  head.writeUInt16LE(entry.isWide ? NEEDS_ZIP64 : NEEDS_PLAIN, 4);
  head.writeUInt16LE(entry.flags, 6);
  head.writeUInt16LE(entry.method, 8);
  head.writeUInt16LE(time, 10);
  head.writeUInt16LE(date, 12);
  head.writeUInt32LE(crc, 14);
  head.writeUInt32LE(entry.isWide ? ZIP32_MAX : packed, 18);
  head.writeUInt32LE(entry.isWide ? ZIP32_MAX : plain, 22);
  head.writeUInt16LE(entry.name.length, 26);
  head.writeUInt16LE(extras.length, 28);
  return Buffer.concat([head, entry.name, extras]);
}

/** What follows content whose sizes were not known before. */
export function dataDescriptor(entry: ZipEntry, { crc, packed, plain }: ZipSizes): Buffer {
  const bytes = Buffer.alloc(entry.isWide ? 24 : 16);
  bytes.writeUInt32LE(0x08074b50, 0);
  bytes.writeUInt32LE(crc, 4);
  if (entry.isWide) {
    bytes.writeBigUInt64LE(BigInt(packed), 8);
    bytes.writeBigUInt64LE(BigInt(plain), 16);
  } else {
    bytes.writeUInt32LE(packed, 8);
    bytes.writeUInt32LE(plain, 12);
  }
  return bytes;
}

/** The entry's record in the central directory. */
export function centralHeader(entry: ZipEntry, { crc, packed, plain }: ZipSizes): Buffer {
  const cut = (value: number): number => Math.min(value, ZIP32_MAX);
  const wide = [plain, packed, entry.offset].filter((value) => value >= ZIP32_MAX);
  const extras = Buffer.concat([zip64Extra(wide), timesExtra(entry, true), ownerExtra(entry)]);
  const { time, date } = dosTime(entry.mtimeNs);
  const needs = entry.isWide || wide.length > 0 ? NEEDS_ZIP64 : NEEDS_PLAIN;
  const head = Buffer.alloc(46);
  head.writeUInt32LE(0x02014b50, 0);
  head.writeUInt16LE(MADE_ON_UNIX | NEEDS_ZIP64, 4);
  head.writeUInt16LE(needs, 6);
  head.writeUInt16LE(entry.flags, 8);
  head.writeUInt16LE(entry.method, 10);
  head.writeUInt16LE(time, 12);
  head.writeUInt16LE(date, 14);
  head.writeUInt32LE(crc, 16);
  head.writeUInt32LE(cut(packed), 20);
  head.writeUInt32LE(cut(plain), 24);
  head.writeUInt16LE(entry.name.length, 28);
  head.writeUInt16LE(extras.length, 30);
  head.writeUInt32LE(((entry.mode << 16) | (entry.isDirectory ? 0x10 : 0)) >>> 0, 38);
  head.writeUInt32LE(cut(entry.offset), 42);
  return Buffer.concat([head, entry.name, extras]);
}

/** The records that end an archive, those of zip64 where a number needs them. */
export function endRecords(directory: { count: number; offset: number; length: number }): Buffer {
  const { count, offset, length } = directory;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(count, 0xffff), 8);
  end.writeUInt16LE(Math.min(count, 0xffff), 10);
  end.writeUInt32LE(Math.min(length, ZIP32_MAX), 12);
  end.writeUInt32LE(Math.min(offset, ZIP32_MAX), 16);
  if (count < 0xffff && length < ZIP32_MAX && offset < ZIP32_MAX) return end;
  const wide = Buffer.alloc(56);
  wide.writeUInt32LE(0x06064b50, 0);
  wide.writeBigUInt64LE(44n, 4);
  wide.writeUInt16LE(MADE_ON_UNIX | NEEDS_ZIP64, 12);
  wide.writeUInt16LE(NEEDS_ZIP64, 14);
  wide.writeBigUInt64LE(BigInt(count), 24);
  wide.writeBigUInt64LE(BigInt(count), 32);
  wide.writeBigUInt64LE(BigInt(length), 40);
  wide.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + length), 8);
  locator.writeUInt32LE(1, 16);
  return Buffer.concat([wide, locator, end]);
}
