/**
 * The one encryption of the format: `IV (16) || AES-256-CTR ciphertext || Poly1305-AES MAC (16)`.
 * The IV is also the MAC's nonce, so it must never repeat under one key: callers hand in 16 fresh
 * random bytes a time. (restic design, "Keys, Encryption and MAC"; Bernstein, poly1305-20050329.)
 */
import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto';
import { HoldfastError } from '@holdfast/protocol';
import { poly1305 } from './poly1305.ts';

/** Bytes of the initialisation vector in front of a sealed message. */
export const IV_BYTES = 16;
const MAC_BYTES = 16;
/** Bytes by which a sealed message is longer than what it holds. */
export const SEAL_OVERHEAD_BYTES = IV_BYTES + MAC_BYTES;

/** What everything in a repository is encrypted and authenticated with. */
export interface CipherKey {
  /** 32 bytes, AES-256. */
  readonly encrypt: Uint8Array;
  /** 16 bytes, the AES-128 key of Poly1305-AES. */
  readonly macK: Uint8Array;
  /** 16 bytes, the point of Poly1305; clamped when used. */
  readonly macR: Uint8Array;
}

/** Bytes of a key as one string: encrypt, macK, macR. */
export const CIPHER_KEY_BYTES = 64;

/** Cuts a key out of {@link CIPHER_KEY_BYTES} bytes: of a random source or of scrypt. */
export function cipherKeyFrom(bytes: Uint8Array): CipherKey {
  if (bytes.length !== CIPHER_KEY_BYTES) throw new HoldfastError('INTERNAL', 'a key has 64 bytes');
  return {
    encrypt: bytes.slice(0, 32),
    macK: bytes.slice(32, 48),
    macR: bytes.slice(48, 64),
  };
}

function authenticator(key: CipherKey, iv: Uint8Array, ciphertext: Uint8Array): Uint8Array {
  const block = createCipheriv('aes-128-ecb', key.macK, null);
  block.setAutoPadding(false);
  return poly1305(ciphertext, key.macR, block.update(iv));
}

/** Encrypts and authenticates. `iv`: 16 random bytes that this key has never seen. */
export function seal(key: CipherKey, plaintext: Uint8Array, iv: Uint8Array): Uint8Array {
  if (iv.length !== IV_BYTES) throw new HoldfastError('INTERNAL', 'an IV has 16 bytes');
  const ciphertext = createCipheriv('aes-256-ctr', key.encrypt, iv).update(plaintext);
  const sealed = Buffer.allocUnsafe(plaintext.length + SEAL_OVERHEAD_BYTES);
  sealed.set(iv, 0);
  sealed.set(ciphertext, IV_BYTES);
  sealed.set(authenticator(key, iv, ciphertext), IV_BYTES + ciphertext.length);
  return sealed;
}

/** The reverse of {@link seal}. CORRUPT when one bit differs or the key is another one. */
export function unseal(key: CipherKey, sealed: Uint8Array): Uint8Array {
  if (sealed.length < SEAL_OVERHEAD_BYTES)
    throw new HoldfastError('CORRUPT', 'an encrypted object is shorter than its frame');
  const iv = sealed.subarray(0, IV_BYTES);
  const ciphertext = sealed.subarray(IV_BYTES, sealed.length - MAC_BYTES);
  const mac = sealed.subarray(sealed.length - MAC_BYTES);
  if (!timingSafeEqual(authenticator(key, iv, ciphertext), mac))
    throw new HoldfastError('CORRUPT', 'an encrypted object does not match its authenticator');
  return createDecipheriv('aes-256-ctr', key.encrypt, iv).update(ciphertext);
}
