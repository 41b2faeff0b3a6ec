/** PAX extended headers: `length key=value\n` (POSIX.1-2001 pax, "pax Header Block"). */
import { HoldfastError } from '@holdfast/protocol';

/** Records in order; keys and values are latin1 text, one character a byte. */
export type PaxRecords = ReadonlyMap<string, string>;

const NS_PER_S = 1_000_000_000n;

/** The records as bytes. */
export function encodePax(records: PaxRecords): Buffer {
  return Buffer.concat(
    [...records].map(([key, value]) => {
      const rest = key.length + value.length + 3; // space, '=' and newline
      let length = rest + String(rest).length;
      // The length counts its own digits, of which it may need one more.
      if (rest + String(length).length !== length) length = rest + String(length).length;
      return Buffer.from(`${length} ${key}=${value}\n`, 'latin1');
    }),
  );
}

function corrupt(): HoldfastError {
  return new HoldfastError('CORRUPT', 'the archive is damaged: a malformed PAX header');
}

/** A record as it stands: the same key may come more than once (GNU.sparse.offset does). */
export type PaxRecord = readonly [key: string, value: string];

/** The records in a PAX header. CORRUPT when malformed. */
export function decodePax(bytes: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] === 0) break; // padding of sloppy writers
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 || space - at > 10 ? '' : bytes.toString('latin1', at, space);
    const end = at + Number(digits);
    if (!/^[1-9]\d*$/.test(digits) || end > bytes.length || bytes[end - 1] !== 0x0a)
      throw corrupt();
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end || end <= space + 1) throw corrupt();
    records.push([
      bytes.toString('latin1', space + 1, equals),
      bytes.toString('latin1', equals + 1, end - 1),
    ]);
    at = end;
  }
  return records;
}

/** Seconds with as many decimals as needed. */
export function paxTime(ns: bigint): string {
  const isNegative = ns < 0n;
  const size = isNegative ? -ns : ns;
  const decimals = String(size % NS_PER_S)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${isNegative ? '-' : ''}${size / NS_PER_S}${decimals === '' ? '' : `.${decimals}`}`;
}

/** The reverse of {@link paxTime}; finer than a nanosecond is cut. CORRUPT when it is no time. */
export function parsePaxTime(text: string): bigint {
  const match = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(text);
  if (match === null) throw new HoldfastError('CORRUPT', 'the archive is damaged: a wrong time');
  const [, sign, seconds = '0', decimals = ''] = match;
  const ns = BigInt(seconds) * NS_PER_S + BigInt(decimals.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -ns : ns;
}

/** A whole number of a record. CORRUPT unless 0 to 2^53-1. */
export function parsePaxNumber(text: string, what: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw new HoldfastError('CORRUPT', `the archive is damaged: ${what} is no number`);
  return value;
}

/** Name of an attribute as part of a key: `=` ends a key, so GNU tar writes it as %3D. */
export function xattrKey(name: string): string {
  return `SCHILY.xattr.${name.replaceAll('%', '%25').replaceAll('=', '%3D')}`;
}

/** The reverse of {@link xattrKey}; `undefined` for other keys. */
export function xattrName(key: string): string | undefined {
  if (!key.startsWith('SCHILY.xattr.')) return undefined;
  return key.slice('SCHILY.xattr.'.length).replaceAll('%3D', '=').replaceAll('%25', '%');
}
