import { decode, encode, HoldfastError } from '@holdfast/protocol';

/** How one field of a record is stored. */
export interface Field<V> {
  /** Key in the stored map: never changes, never used again for something else. */
  readonly short: string;
  /** A field of this value is left out. */
  readonly absent?: V;
  /** Form in the stored map where it differs from that in memory. */
  readonly pack?: (value: V) => unknown;
  readonly unpack?: (stored: never) => V;
}

/** All fields of a record, in the order in which they are stored. */
export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/**
 * A kind of record: a MessagePack map `{v: 1, ...}` with short keys. The bytes depend on nothing but
 * the values: fields come in the order of the table, and absent values are left out.
 */
export interface RecordType<T> {
  readonly name: string;
  readonly encode: (record: T) => Uint8Array;
  /** Throws CORRUPT when the bytes are not such a record, NEWER_FORMAT for a later version. */
  readonly decode: (bytes: Uint8Array) => T;
}

const VERSION = 1;

interface StoredField {
  readonly name: string;
  readonly short: string;
  readonly absent: unknown;
  readonly pack: ((value: unknown) => unknown) | undefined;
  readonly unpack: ((stored: unknown) => unknown) | undefined;
}

function isAbsent(value: unknown, absent: unknown): boolean {
  if (value === undefined || value === absent) return true;
  return Array.isArray(absent) && Array.isArray(value) && value.length === 0;
}

function parse(name: string, bytes: Uint8Array): Record<string, unknown> {
  let stored: unknown;
  try {
    stored = decode(bytes);
  } catch (cause) {
    throw new HoldfastError('CORRUPT', `a record of type ${name} cannot be decoded`, { cause });
  }
  const map = stored as Record<string, unknown> | null;
  if (typeof map !== 'object' || map === null || typeof map['v'] !== 'number') {
    throw new HoldfastError('CORRUPT', `a record of type ${name} has no version`);
  }
  if (map['v'] === VERSION) return map;
  throw new HoldfastError('NEWER_FORMAT', `a record of type ${name} has version ${map['v']}`);
}

/** Makes a record type of its table of fields. */
export function recordType<T extends object>(name: string, fields: Fields<T>): RecordType<T> {
  const table = Object.entries(fields).map(([field, value]) => {
    const { short, absent, pack, unpack } = value as Omit<StoredField, 'name'>;
    return { name: field, short, absent, pack, unpack } satisfies StoredField;
  });
  return {
    name,
    encode(record) {
      const stored: Record<string, unknown> = { v: VERSION };
      for (const field of table) {
        const value = (record as Record<string, unknown>)[field.name];
        if (isAbsent(value, field.absent)) continue;
        stored[field.short] = field.pack === undefined ? value : field.pack(value);
      }
      return encode(stored);
    },
    decode(bytes) {
      const stored = parse(name, bytes);
      const record: Record<string, unknown> = {};
      for (const field of table) {
        const value = stored[field.short];
        if (value === undefined) record[field.name] = field.absent;
        else record[field.name] = field.unpack === undefined ? value : field.unpack(value);
      }
      return record as T;
    },
  };
}
