/** A tree into an archive. */
import type { TreeSource } from '@holdfast/tree';
import { compressed } from './compression.ts';
import type { ArchiveWarning } from './entry.ts';
import { type ArchiveFormat, compressionOf } from './format.ts';
import { tarBytes } from './tar/writer.ts';
import { zipBytes } from './zip/writer.ts';

/** Counts while an export or import runs and when it is done. */
export interface ArchiveCounts {
  /** Everything that has a name, the root too where the format has it. */
  entries: number;
  files: number;
  /** Bytes of files; of an export holes included. */
  bytes: number;
  /** Bytes of the archive as it is stored. */
  archiveBytes: number;
  warnings: number;
}

/** How a tree is exported. */
export interface ExportOptions {
  readonly format: ArchiveFormat;
  readonly onWarning?: ArchiveWarning;
  readonly onProgress?: (counts: ArchiveCounts) => void;
  readonly signal?: AbortSignal;
}

/** Counts of nothing yet. */
export function noCounts(): ArchiveCounts {
  return { entries: 0, files: 0, bytes: 0, archiveBytes: 0, warnings: 0 };
}

/**
 * The bytes of an archive of a tree, as fast as they are asked for. `counts` goes on while they are
 * read. A file that changes meanwhile is as it was read; one that is removed is left out; both are told.
 */
export function exportTree(
  source: TreeSource,
  { format, onWarning, onProgress, signal }: ExportOptions,
): { readonly counts: ArchiveCounts; readonly bytes: AsyncGenerator<Uint8Array> } {
  const counts = noCounts();
  const report = {
    onWarning: (path: string, text: string): void => {
      counts.warnings += 1;
      onWarning?.(path, text);
    },
    onEntry: ({
      entry,
      file,
      sameAs,
    }: {
      entry: { kind: string };
      file?: { size: number };
      sameAs?: string;
    }): void => {
      signal?.throwIfAborted();
      counts.entries += 1;
      if (entry.kind === 'file' && sameAs === undefined) counts.files += 1;
      counts.bytes += file?.size ?? 0;
      onProgress?.(counts);
    },
  };
  const plain = format === 'zip' ? zipBytes(source, report) : tarBytes(source, report);
  async function* bytes(): AsyncGenerator<Uint8Array> {
    for await (const part of compressed(checked(plain, signal), compressionOf(format))) {
      counts.archiveBytes += part.length;
      yield part;
    }
  }
  return { counts, bytes: bytes() };
}

async function* checked(
  bytes: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const part of bytes) {
    signal?.throwIfAborted();
    yield part;
  }
}
