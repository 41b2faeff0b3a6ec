/** An archive into a tree. */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import type { TreeSink } from '@holdfast/tree';
import { ByteReader } from './byte-reader.ts';
import { decompressed } from './compression.ts';
import type { ArchivedEntry, ArchiveWarning } from './entry.ts';
import { type ArchiveCounts, noCounts } from './export.ts';
import { type ArchiveFormat, compressionOf, formatOfBytes, MAGIC_BYTES } from './format.ts';
import { ARCHIVE_LIMITS } from './limits.ts';
import { TarReader } from './tar/reader.ts';
import { TreeBuilder } from './tree-builder.ts';
import { ZipReader } from './zip/reader.ts';

/** Bounds against archives that are larger than they look; no others by default than said here. */
export interface ImportLimits {
  readonly entriesMax?: number;
  /** Unpacked bytes of the archive. */
  readonly bytesMax?: number;
  /**
   * Unpacked bytes for each byte of the archive; applied from 16 MiB on. Without it 1,000 for tar archives
   * from 256 MiB on; none for zip archives, where long runs of zeros become holes.
   */
  readonly ratioMax?: number;
}

/** How an archive is imported. */
export interface ImportOptions {
  /** Told by the first bytes when absent. */
  readonly format?: ArchiveFormat;
  readonly limits?: ImportLimits;
  readonly onProgress?: (counts: ArchiveCounts) => void;
  /** Told of what is left out. */
  readonly onWarning?: ArchiveWarning;
  readonly signal?: AbortSignal;
}

class Import {
  readonly counts = noCounts();
  readonly #sink: TreeSink;
  readonly #options: ImportOptions;
  #unpackedBytes = 0;

  constructor(sink: TreeSink, options: ImportOptions) {
    this.#sink = sink;
    this.#options = options;
  }

  async run(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const reader = new ByteReader(bytes);
    try {
      const format = this.#options.format ?? formatOfBytes(await reader.peek(MAGIC_BYTES));
      if (format === 'zip') await this.#spooled(reader.rest());
      else await this.#tar(reader.rest(), format);
    } finally {
      await reader.close();
    }
  }

  /** A zip archive in a file that is open for reading. */
  async zip(descriptor: number): Promise<void> {
    const reader = await ZipReader.open(descriptor);
    this.counts.archiveBytes = reader.size;
    await this.#build(reader.entries(), { isZip: true });
  }

  async #tar(bytes: AsyncIterable<Uint8Array>, format: ArchiveFormat): Promise<void> {
    const plain = decompressed(this.#countPacked(bytes), compressionOf(format));
    const reader = new ByteReader(this.#countUnpacked(plain));
    const warn = this.#options.onWarning ?? (() => {});
    try {
      await this.#build(new TarReader(reader, warn).entries(), { isZip: false });
    } finally {
      await reader.close();
    }
  }

  /** A zip archive begins with its end: from a stream it is first put into a file without a name. */
  async #spooled(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-import-'));
    let file: FileHandle | undefined;
    try {
      file = await open(join(directory, 'archive.zip'), 'wx+', 0o600);
      await rm(directory, { recursive: true });
      for await (const part of bytes) {
        this.#options.signal?.throwIfAborted();
        await file.writeFile(part);
      }
      await this.zip(file.fd);
    } finally {
      await file?.close();
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #build(
    entries: AsyncIterable<ArchivedEntry>,
    { isZip }: { readonly isZip: boolean },
  ): Promise<void> {
    const onBytes = (count: number): void => {
      this.counts.bytes += count;
      if (isZip) this.#unpacked(count, { isZip });
      this.#options.signal?.throwIfAborted();
      this.#options.onProgress?.(this.counts);
    };
    const builder = new TreeBuilder(await this.#sink.root(), { makeHoles: isZip, onBytes });
    try {
      for await (const entry of entries) {
        this.#count(entry);
        await builder.add(entry);
      }
      await builder.finish();
    } catch (error) {
      await builder.abandon();
      throw error;
    }
  }

  #count(entry: ArchivedEntry): void {
    const { limits, signal, onProgress } = this.#options;
    signal?.throwIfAborted();
    this.counts.entries += 1;
    if (entry.kind === 'file' && entry.linkTo === undefined) this.counts.files += 1;
    const max = limits?.entriesMax ?? Number.POSITIVE_INFINITY;
    if (this.counts.entries > max) throw tooLarge(`${max} entries, the limit that was given`);
    onProgress?.(this.counts);
  }

  async *#countPacked(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const part of bytes) {
      this.counts.archiveBytes += part.length;
      yield part;
    }
  }

  async *#countUnpacked(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const part of bytes) {
      this.#unpacked(part.length, { isZip: false });
      yield part;
    }
  }

  #unpacked(count: number, { isZip }: { readonly isZip: boolean }): void {
    const { bytesMax = Number.POSITIVE_INFINITY, ratioMax } = this.#options.limits ?? {};
    this.#unpackedBytes += count;
    const total = this.#unpackedBytes;
    const { archiveBytes } = this.counts;
    if (total > bytesMax) throw tooLarge(`${bytesMax} bytes, the limit that was given`);
    const { ratioBytesMin, ratioUnasked, ratioUnaskedBytesMin } = ARCHIVE_LIMITS;
    if (ratioMax !== undefined) {
      if (total > ratioBytesMin && total > ratioMax * archiveBytes)
        throw tooLarge(`${ratioMax} bytes for each of its own, the limit that was given`);
    } else if (!isZip && total > ratioUnaskedBytesMin && total > ratioUnasked * archiveBytes)
      throw tooLarge(
        `${ratioUnasked} bytes for each of its own, as bombs do; where that is meant, allow more (--max-ratio)`,
      );
  }
}

function tooLarge(what: string): HoldfastError {
  return new HoldfastError('TOO_LARGE', `the archive unpacks to more than ${what}`);
}

/**
 * Builds what an archive holds in a sink, which should be a fresh place: after a failure it holds a
 * part. Refuses with one error: CORRUPT (damaged, cut off, or leading out of the tree), TOO_LARGE (a
 * limit), ENOTSUP, and whatever the sink refuses. Nothing is ever written outside of the sink, and
 * nothing writes to it any more when this rejects.
 */
export async function importTree(
  bytes: AsyncIterable<Uint8Array>,
  sink: TreeSink,
  options: ImportOptions = {},
): Promise<ArchiveCounts> {
  const run = new Import(sink, options);
  await run.run(bytes);
  return run.counts;
}

/** Like {@link importTree} for an archive in a file, which zip archives need not be copied for. */
export async function importFile(
  path: string,
  sink: TreeSink,
  options: ImportOptions = {},
): Promise<ArchiveCounts> {
  const run = new Import(sink, options);
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new HoldfastError(
      'NOT_FOUND',
      `cannot open ${path}: ${String((cause as Error).message)}`,
      {
        cause,
      },
    );
  });
  try {
    const first = Buffer.alloc(MAGIC_BYTES);
    const { bytesRead } = await file.read(first, 0, first.length, 0);
    const isFile = (await file.stat()).isFile();
    const format =
      options.format ?? (isFile ? formatOfBytes(first.subarray(0, bytesRead)) : undefined);
    if (format === 'zip' && isFile) await run.zip(file.fd);
    else
      await run.run(file.createReadStream({ ...(isFile ? { start: 0 } : {}), autoClose: false }));
  } finally {
    await file.close();
  }
  return run.counts;
}
