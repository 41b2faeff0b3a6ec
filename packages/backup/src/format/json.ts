/**
 * JSON as Go's encoder writes and reads it: whole numbers of 64 bits, bytes as base64. A number
 * beyond 2^53 travels as `bigint`; smaller ones too where the field's type says so.
 */
import { HoldfastError } from '@holdfast/protocol';

/** Fields whose values may exceed what a JavaScript number counts exactly. */
const WIDE_FIELD = /"(inode|device_id|device|size|links)":(\d{16,20})(?=[,}\s])/g;

const RAW = JSON as unknown as { rawJSON(text: string): unknown };

/** One value as JSON text; `bigint` is written as a plain number. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, field: unknown) =>
    typeof field === 'bigint' ? RAW.rawJSON(field.toString()) : field,
  );
}

/**
 * JSON bytes to a value; the {@link WIDE_FIELD} numbers of 16 digits and more become strings (a
 * quoted text cannot match: its own quotes are escaped). CORRUPT when it is not JSON.
 */
export function fromJson(bytes: Uint8Array, what: string): unknown {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  try {
    return JSON.parse(text.replace(WIDE_FIELD, '"$1":"$2"')) as unknown;
  } catch (cause) {
    throw new HoldfastError('CORRUPT', `${what} is not JSON`, { cause });
  }
}

/** A JSON object's fields, or CORRUPT. */
export function fieldsOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new HoldfastError('CORRUPT', `${what} is not a JSON object`);
}

/** A text field, or CORRUPT. */
export function textOf(value: unknown, what: string): string {
  if (typeof value === 'string') return value;
  throw new HoldfastError('CORRUPT', `${what} is not a text`);
}

/** A whole number in [0, max] (absent: 0), or CORRUPT. */
export function countOf(value: unknown, what: string, max = Number.MAX_SAFE_INTEGER): number {
  const number = typeof value === 'string' ? Number(value) : (value ?? 0);
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 && number <= max)
    return number;
  throw new HoldfastError('CORRUPT', `${what} is not a whole number up to ${max}`);
}

/** A whole number of 64 bits (absent: 0), or CORRUPT. */
export function wideOf(value: unknown, what: string): bigint {
  if (value === undefined) return 0n;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return BigInt(value);
  throw new HoldfastError('CORRUPT', `${what} is not a whole number`);
}

/** Bytes written as base64, or CORRUPT; `null` (Go's empty slice) is no bytes. */
export function bytesOf(value: unknown, what: string): Buffer {
  if (value === null || value === undefined) return Buffer.alloc(0);
  return Buffer.from(textOf(value, what), 'base64');
}

/** A list (absent or null: empty), or CORRUPT. */
export function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value as readonly unknown[];
  throw new HoldfastError('CORRUPT', `${what} is not a list`);
}
