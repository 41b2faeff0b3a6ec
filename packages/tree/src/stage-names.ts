import { RECEIVING_NAME, STAGE_PREFIX } from '@holdfast/protocol';

/** Begins the name of a hidden directory, wherever a copy is being made; letters and digits follow. */
const COPY_PREFIX = '.holdfast-copy-';

/** Whether a name in a volume's root is that of a stage. */
export function isStageName(name: string): boolean {
  return name.startsWith(STAGE_PREFIX) || isCopyName(name);
}

/** The name of a directory in which a copy is built. `id`: hexadecimal digits, {@link COPY_ID_BYTES} bytes. */
export function copyName(id: string): string {
  return `${COPY_PREFIX}${id}`;
}

/** Bytes of the random part of a copy's name. */
export const COPY_ID_BYTES = 6;

/** Whether a name is that of a directory in which a copy is built. */
export function isCopyName(name: string): boolean {
  return /^\.holdfast-copy-[0-9a-f]{12}$/.test(name);
}

/** Whether a name in a volume's root is never that of content. */
export function isReservedName(name: string): boolean {
  return name === RECEIVING_NAME || isStageName(name);
}
