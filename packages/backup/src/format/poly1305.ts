import { poly1305 as noble } from '@noble/ciphers/_poly1305.js';

/** Poly1305 of a message under the point `r` (16 bytes, clamped here) and the pad `s` (16 bytes). */
export function poly1305(message: Uint8Array, r: Uint8Array, s: Uint8Array): Uint8Array {
  const key = new Uint8Array(32);
  key.set(r, 0);
  key.set(s, 16);
  return noble(message, key);
}
