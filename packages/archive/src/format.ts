/** Which archive it is: by name, by option, by its first bytes. */
import { HoldfastError } from '@holdfast/protocol';
import type { Compression } from './compression.ts';
import { BLOCK, isHeader } from './tar/header.ts';

/** Formats by the names that options take. */
export const ARCHIVE_FORMATS = ['tar', 'tar.gz', 'tar.zst', 'zip'] as const;

/** One of {@link ARCHIVE_FORMATS}. */
export type ArchiveFormat = (typeof ARCHIVE_FORMATS)[number];

const BY_SUFFIX: readonly (readonly [string, ArchiveFormat])[] = [
  ['.tar', 'tar'],
  ['.tar.gz', 'tar.gz'],
  ['.tgz', 'tar.gz'],
  ['.tar.zst', 'tar.zst'],
  ['.tzst', 'tar.zst'],
  ['.zip', 'zip'],
];

/** The format that a file's name tells; `undefined` when it tells none. */
export function formatOfName(name: string): ArchiveFormat | undefined {
  const lower = name.toLowerCase();
  return BY_SUFFIX.find(([suffix]) => lower.endsWith(suffix))?.[1];
}

/** What packs a tar archive of a format. */
export function compressionOf(format: ArchiveFormat): Compression {
  if (format === 'tar.gz') return 'gzip';
  return format === 'tar.zst' ? 'zstd' : 'none';
}

const OTHERS: readonly (readonly [string, string, string])[] = [
  ['fd377a585a00', 'xz', 'xz -dc'],
  ['425a68', 'bzip2', 'bzip2 -dc'],
  ['04224d18', 'lz4', 'lz4 -dc'],
  ['1f9d', 'compress', 'zcat'],
];

/** Bytes from the start that {@link formatOfBytes} wants. */
export const MAGIC_BYTES = BLOCK;

/** The format that the first bytes tell. CORRUPT when they are of no archive that is known. */
export function formatOfBytes(first: Buffer): ArchiveFormat {
  const hex = first.toString('hex', 0, 6);
  if (hex.startsWith('1f8b')) return 'tar.gz';
  if (hex.startsWith('28b52ffd') || /^5.2a4d18/.test(hex)) return 'tar.zst';
  if (/^504b(0304|0506|0708)/.test(hex)) return 'zip';
  if (isHeader(first)) return 'tar';
  // An empty archive: nothing but its end mark.
  if (first.length === BLOCK && first.every((byte) => byte === 0)) return 'tar';
  const other = OTHERS.find(([magic]) => hex.startsWith(magic));
  if (other !== undefined)
    throw new HoldfastError(
      'ENOTSUP',
      `the archive is packed with ${other[1]}; unpack it on the way: ${other[2]} FILE | holdfast volume import NAME -`,
    );
  throw new HoldfastError(
    'CORRUPT',
    first.length === 0
      ? 'the archive is empty: it has not even an end mark'
      : 'this is no archive that is known (tar, tar.gz, tar.zst, zip)',
  );
}
