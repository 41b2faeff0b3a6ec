/**
 * Names in trees are written as the inside of a Go string literal, so that names which are not
 * UTF-8 survive JSON. Here a name is latin1 text: one character a byte of the file system.
 */
import { isUtf8 } from 'node:buffer';
import { HoldfastError } from '@holdfast/protocol';

const SIMPLE: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  '"': 34,
  "'": 39,
};

/** Controls, quotes and backslashes escaped; `byteFrom`: this and all above it are single bytes. */
function escapeBytes(text: string, byteFrom: number): string {
  return text.replace(/[\p{Cc}"\\\u0080-\u00ff]/gu, (character) => {
    const code = character.charCodeAt(0);
    if (character === '"' || character === '\\') return `\\${character}`;
    if (code >= byteFrom || code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`;
    return character;
  });
}

/** A latin1 name as the inside of a Go string literal. */
export function quoteName(name: string): string {
  const bytes = Buffer.from(name, 'latin1');
  if (isUtf8(bytes)) return escapeBytes(bytes.toString('utf8'), 0x100);
  // One wrong byte: all bytes beyond ASCII are spelled out. Go reads that back to the same bytes.
  return escapeBytes(name, 0x80);
}

const ESCAPE =
  /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([abfnrtv\\"']))/y;

function escapedBytes(match: RegExpExecArray): Buffer {
  const [, hex, short, long, octal, simple] = match;
  if (hex !== undefined) return Buffer.from([Number.parseInt(hex, 16)]);
  if (octal !== undefined) return Buffer.from([Number.parseInt(octal, 8)]);
  if (simple !== undefined) return Buffer.from([SIMPLE[simple] ?? 0]);
  const point = Number.parseInt(short ?? long ?? '', 16);
  if (point > 0x10ffff) throw new HoldfastError('CORRUPT', 'a name has no valid code point');
  return Buffer.from(String.fromCodePoint(point), 'utf8');
}

/** The reverse of {@link quoteName}, and of what restic writes; latin1. CORRUPT when malformed. */
export function unquoteName(text: string): string {
  if (!text.includes('\\')) return Buffer.from(text, 'utf8').toString('latin1');
  const parts: Buffer[] = [];
  for (let at = 0; at < text.length; ) {
    const backslash = text.indexOf('\\', at);
    const end = backslash < 0 ? text.length : backslash;
    if (end > at) parts.push(Buffer.from(text.slice(at, end), 'utf8'));
    if (backslash < 0) break;
    ESCAPE.lastIndex = backslash;
    const match = ESCAPE.exec(text);
    if (match === null) throw new HoldfastError('CORRUPT', 'a name has an unknown escape');
    parts.push(escapedBytes(match));
    at = backslash + match[0].length;
  }
  return Buffer.concat(parts).toString('latin1');
}
