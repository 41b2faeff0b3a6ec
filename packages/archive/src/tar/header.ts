/** The 512-byte header of a tar entry (POSIX.1-1988 ustar, with what GNU tar and others put there). */
import { HoldfastError } from '@holdfast/protocol';

/** Bytes of a tar block. */
export const BLOCK = 512;

/** Bytes that fill a content of `length` bytes up to whole blocks. */
export function paddingOf(length: number): number {
  return (BLOCK - (length % BLOCK)) % BLOCK;
}

/** [offset, length] of the fields; numbers are octal text. */
const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  userName: [265, 32],
  groupName: [297, 32],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const satisfies Record<string, readonly [number, number]>;

type FieldName = keyof typeof FIELD;

const USTAR = 'ustar\x0000';
const GNU = 'ustar  \x00';

/** A header as it stands: names are latin1 text, unchecked. */
export interface TarHeader {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow. */
  readonly size: number;
  /** Seconds. */
  readonly mtime: number;
  /** One character; '0' also for the NUL of old archives. */
  readonly type: string;
  readonly linkName: string;
  readonly major: number;
  readonly minor: number;
}

/** Largest numbers of octal fields: 7 and 11 digits. */
export const OCTAL_MAX = { short: 8 ** 7 - 1, long: 8 ** 11 - 1 } as const;

function put(block: Buffer, field: FieldName, text: string): void {
  const [offset, length] = FIELD[field];
  block.write(text.slice(0, length), offset, length, 'latin1');
}

function putNumber(block: Buffer, field: FieldName, value: number): void {
  const digits = FIELD[field][1] - 1;
  const max = 8 ** digits - 1;
  // What does not fit stands in a PAX record before this header.
  const shown = Number.isSafeInteger(value) && value >= 0 && value <= max ? value : 0;
  put(block, field, shown.toString(8).padStart(digits, '0'));
}

/** Splits a path for the name and prefix fields; `undefined` when it does not fit. */
export function splitUstar(path: string): { name: string; prefix: string } | undefined {
  if (path.length <= 100) return { name: path, prefix: '' };
  for (
    let slash = path.indexOf('/');
    slash > 0 && slash <= 155;
    slash = path.indexOf('/', slash + 1)
  ) {
    const name = path.slice(slash + 1);
    if (name.length <= 100 && name !== '') return { name, prefix: path.slice(0, slash) };
  }
  return undefined;
}

/** A ustar header. Names that do not fit are cut: a PAX record before it holds them. */
export function encodeHeader(header: TarHeader): Buffer {
  const block = Buffer.alloc(BLOCK);
  const { name, prefix } = splitUstar(header.name) ?? { name: header.name, prefix: '' };
  put(block, 'name', name);
  put(block, 'prefix', prefix);
  putNumber(block, 'mode', header.mode);
  putNumber(block, 'uid', header.uid);
  putNumber(block, 'gid', header.gid);
  putNumber(block, 'size', header.size);
  putNumber(block, 'mtime', header.mtime);
  put(block, 'type', header.type);
  put(block, 'linkName', header.linkName);
  put(block, 'magic', USTAR);
  putNumber(block, 'major', header.major);
  putNumber(block, 'minor', header.minor);
  put(block, 'checksum', `${sums(block).unsigned.toString(8).padStart(6, '0')}\0 `);
  return block;
}

/** Sums of all bytes, those of the checksum counted as spaces; some old writers took them as signed. */
function sums(block: Uint8Array): { unsigned: number; signed: number } {
  const [start, length] = FIELD.checksum;
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < BLOCK; at++) {
    const byte = at >= start && at < start + length ? 0x20 : block[at]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return { unsigned, signed };
}

function text(block: Buffer, field: FieldName): string {
  const [offset, length] = FIELD[field];
  const end = block.indexOf(0, offset);
  const stop = end < 0 || end > offset + length ? offset + length : end;
  return block.toString('latin1', offset, stop);
}

function corrupt(what: string): HoldfastError {
  return new HoldfastError('CORRUPT', `the archive is damaged: ${what}`);
}

/** Octal text, or GNU's binary number with the top bit set. */
export function numberAt(block: Buffer, offset: number, length: number, what: string): number {
  const first = block[offset] ?? 0;
  if (first === 0x80 || first === 0xff) {
    let value = first === 0xff ? -1n : 0n;
    for (let at = offset + 1; at < offset + length; at++)
      value = (value << 8n) | BigInt(block[at]!);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw corrupt(`${what} is out of range`);
    return number;
  }
  const field = block.toString('latin1', offset, offset + length);
  const digits = field.replace(/^[ \0]+/, '').replace(/[ \0][\s\S]*$/, '');
  if (!/^[0-7]*$/.test(digits)) throw corrupt(`${what} is no number: ${JSON.stringify(digits)}`);
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function number(block: Buffer, field: FieldName): number {
  const [offset, length] = FIELD[field];
  return numberAt(block, offset, length, field);
}

/** Whether a block could be a header: its checksum is right. */
export function isHeader(block: Buffer): boolean {
  if (block.length < BLOCK) return false;
  const [offset, length] = FIELD.checksum;
  const stated = Number.parseInt(
    block
      .toString('latin1', offset, offset + length)
      .replace(/\0/g, ' ')
      .trim(),
    8,
  );
  const { unsigned, signed } = sums(block);
  return stated === unsigned || stated === signed;
}

/** The header in a block. CORRUPT when the checksum or a number is wrong. */
export function decodeHeader(block: Buffer): TarHeader {
  if (!isHeader(block)) throw corrupt('the checksum of a header is wrong');
  const magic = block.toString('latin1', FIELD.magic[0], FIELD.magic[0] + FIELD.magic[1]);
  const isUstar = magic.startsWith('ustar\0');
  const type = String.fromCharCode(block[FIELD.type[0]]!);
  const prefix = isUstar ? text(block, 'prefix') : '';
  const name = text(block, 'name');
  const hasDevice = isUstar || magic === GNU;
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, 'mode') & 0o7777,
    uid: number(block, 'uid'),
    gid: number(block, 'gid'),
    size: number(block, 'size'),
    mtime: number(block, 'mtime'),
    type: type === '\0' ? '0' : type,
    linkName: text(block, 'linkName'),
    major: hasDevice ? number(block, 'major') : 0,
    minor: hasDevice ? number(block, 'minor') : 0,
  };
}
