/**
 * Key files, `keys/<id>`: the repository's master key, sealed under a key that scrypt derives from
 * a password. Any number of passwords, one slot each; plain JSON, the only object not encrypted.
 */
import { scrypt } from 'node:crypto';
import { HoldfastError } from '@holdfast/protocol';
import { CIPHER_KEY_BYTES, type CipherKey, cipherKeyFrom, seal, unseal } from './cipher.ts';
import { bytesOf, countOf, fieldsOf, fromJson, textOf, toJson } from './json.ts';

/** Cost of the derivation: 128 * N * r bytes of memory, N * r * p of time. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** 64 MiB and about a fifth of a second on a small server. */
export const SCRYPT_COST: ScryptCost = { N: 65_536, r: 8, p: 1 };

/** A key file may not make its reader spend more than this. */
const SCRYPT_MEMORY_BYTES_MAX = 1024 * 1024 * 1024;
const SCRYPT_P_MAX = 64;

/** Random bytes of a slot's salt. */
export const SALT_BYTES = 64;

/** One password's slot. */
export interface KeySlot extends ScryptCost {
  readonly created: string;
  readonly username: string;
  readonly hostname: string;
  readonly salt: Uint8Array;
  /** The master key's JSON, sealed under the derived key. */
  readonly data: Uint8Array;
}

/** Who made a slot and with which fresh random bytes. */
export interface SlotOrigin {
  readonly created: string;
  readonly username: string;
  readonly hostname: string;
  /** {@link SALT_BYTES} random bytes. */
  readonly salt: Uint8Array;
  /** 16 random bytes. */
  readonly iv: Uint8Array;
}

async function derive(password: string, salt: Uint8Array, cost: ScryptCost): Promise<CipherKey> {
  const { N, r, p } = cost;
  const isPower = N > 1 && Number.isInteger(Math.log2(N));
  if (!isPower || r < 1 || p < 1 || p > SCRYPT_P_MAX || 128 * N * r > SCRYPT_MEMORY_BYTES_MAX)
    throw new HoldfastError('CORRUPT', 'a key file asks for an impossible scrypt cost', {
      detail: { N, r, p },
    });
  const maxmem = 128 * N * r + 128 * r * p + 1024 * 1024;
  const bytes = await new Promise<Uint8Array>((resolve, reject) => {
    scrypt(password, salt, CIPHER_KEY_BYTES, { N, r, p, maxmem }, (error, derived) => {
      if (error) reject(error);
      else resolve(derived);
    });
  });
  return cipherKeyFrom(bytes);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/** Seals the master key under a password. */
export async function makeSlot(
  master: CipherKey,
  password: string,
  options: SlotOrigin & { readonly cost: ScryptCost },
): Promise<KeySlot> {
  const { created, username, hostname, salt, iv, cost } = options;
  const derived = await derive(password, salt, cost);
  const text = toJson({
    mac: { k: base64(master.macK), r: base64(master.macR) },
    encrypt: base64(master.encrypt),
  });
  const data = seal(derived, Buffer.from(text), iv);
  return { created, username, hostname, N: cost.N, r: cost.r, p: cost.p, salt, data };
}

/** The master key, or `undefined` when the slot is another password's. */
export async function openSlot(slot: KeySlot, password: string): Promise<CipherKey | undefined> {
  const derived = await derive(password, slot.salt, slot);
  let text: Uint8Array;
  try {
    text = unseal(derived, slot.data);
  } catch {
    return undefined;
  }
  const fields = fieldsOf(fromJson(text, 'the master key'), 'the master key');
  const mac = fieldsOf(fields['mac'], 'the master key');
  const parts = [fields['encrypt'], mac['k'], mac['r']].map((part) => bytesOf(part, 'a key'));
  return cipherKeyFrom(Buffer.concat(parts));
}

/** A slot as the bytes of its file. */
export function encodeSlot(slot: KeySlot): Uint8Array {
  const { created, username, hostname, N, r, p } = slot;
  const fields = { created, username, hostname, kdf: 'scrypt', N, r, p };
  return Buffer.from(toJson({ ...fields, salt: base64(slot.salt), data: base64(slot.data) }));
}

/** The reverse of {@link encodeSlot}; CORRUPT when it is no key file, ENOTSUP for another derivation. */
export function decodeSlot(bytes: Uint8Array): KeySlot {
  const fields = fieldsOf(fromJson(bytes, 'a key file'), 'a key file');
  if (fields['kdf'] !== 'scrypt')
    throw new HoldfastError('ENOTSUP', 'a key file uses another derivation than scrypt');
  return {
    created: textOf(fields['created'], 'a time'),
    username: textOf(fields['username'] ?? '', 'a user name'),
    hostname: textOf(fields['hostname'] ?? '', 'a host name'),
    N: countOf(fields['N'], 'N'),
    r: countOf(fields['r'], 'r'),
    p: countOf(fields['p'], 'p'),
    salt: bytesOf(fields['salt'], 'a salt'),
    data: bytesOf(fields['data'], 'the sealed key'),
  };
}
