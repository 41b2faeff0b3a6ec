import { createHash } from 'node:crypto';

/** A storage id of the repository: the SHA-256 of bytes, 64 lower-case hex digits. */
export type StorageId = string;

/** Bytes of a storage id in its binary form. */
export const ID_BYTES = 32;

const ID_PATTERN = /^[0-9a-f]{64}$/;

/** The storage id of some bytes. */
export function storageIdOf(bytes: Uint8Array): StorageId {
  return createHash('sha256').update(bytes).digest('hex');
}

/** True for text that has the form of a storage id. */
export function isStorageId(text: string): boolean {
  return ID_PATTERN.test(text);
}
