/** Short ways to write a {@link RegistryResult}. */
import type { ErrorCode } from '@holdfast/protocol';
import type { RegistryAnswer, RegistryResult } from './cluster-commands.ts';

type Parts = Omit<RegistryAnswer, 'changed'>;

/** Something changed; the answer carries what it is now. */
export function done(parts: Parts): RegistryResult {
  return { ok: true, answer: { ...parts, changed: true } };
}

/** Something changed of which there is nothing to tell. */
export function changed(): RegistryResult {
  return { ok: true, answer: { changed: true } };
}

/** It was so already. */
export function unchanged(parts: Parts = {}): RegistryResult {
  return { ok: true, answer: { ...parts, changed: false } };
}

/** The present state or the input does not allow it; nothing changed. */
export function refuse(
  code: ErrorCode,
  message: string,
  detail?: Readonly<Record<string, unknown>>,
): RegistryResult {
  return { ok: false, code, message, ...(detail === undefined ? {} : { detail }) };
}
