/** Writes zip archives: deflate, zip64 where needed, owners, modes, times and symbolic links as Info-ZIP does. */
import { isUtf8 } from 'node:buffer';
import { constants } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { promisify } from 'node:util';
import { crc32, createDeflateRaw, deflateRaw } from 'node:zlib';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { SourceFile, TreeSource } from '@holdfast/tree';
import type { ArchiveWarning } from '../entry.ts';
import { ARCHIVE_LIMITS } from '../limits.ts';
import { contentOf, type Walked, type WriterReport, walk } from '../walk.ts';
import {
  centralHeader,
  dataDescriptor,
  endRecords,
  localHeader,
  ZIP_FLAG,
  type ZipEntry,
  type ZipSizes,
} from './records.ts';

const TYPE_BITS: Readonly<Partial<Record<FileKind, number>>> = {
  file: constants.S_IFREG,
  directory: constants.S_IFDIR,
  symlink: constants.S_IFLNK,
};
const STORED = 0;
const DEFLATED = 8;
/** Content of this size may be larger than 32 bits tell when it does not shrink. */
const WIDE_BYTES_MIN = 0xf000_0000;
const NAME_BYTES_MAX = 0xffff;

const deflated = promisify(deflateRaw) as (bytes: Uint8Array) => Promise<Buffer>;

/** The records of the central directory, in few large buffers. */
class CentralDirectory {
  readonly #parts: Buffer[] = [];
  #part: Buffer[] = [];
  #partBytes = 0;
  count = 0;
  length = 0;

  add(record: Buffer): void {
    this.#part.push(record);
    this.#partBytes += record.length;
    this.count += 1;
    this.length += record.length;
    if (this.#partBytes >= ARCHIVE_LIMITS.readBytes) this.#close();
  }

  parts(): readonly Buffer[] {
    this.#close();
    return this.#parts;
  }

  #close(): void {
    if (this.#part.length > 0) this.#parts.push(Buffer.concat(this.#part));
    this.#part = [];
    this.#partBytes = 0;
  }
}

class ZipWriter {
  readonly #warn: ArchiveWarning;
  readonly #directory = new CentralDirectory();
  #offset = 0;

  constructor(warn: ArchiveWarning) {
    this.#warn = warn;
  }

  /** Headers and content of an entry. */
  async *entry(walked: Walked): AsyncGenerator<Buffer> {
    const made = this.#begin(walked);
    if (made === undefined) return;
    const { file, entry } = walked;
    if (entry.kind === 'file' && file !== undefined) {
      if (file.size > ARCHIVE_LIMITS.smallFileBytes) yield* this.#large(made, walked, file);
      else yield* this.#whole(made, await this.#read(walked, file));
    } else yield* this.#whole(made, Buffer.from(entry.target, 'latin1'));
  }

  /** The central directory and what ends the archive. */
  *end(): Generator<Buffer> {
    const { count, length } = this.#directory;
    const offset = this.#offset;
    yield* this.#directory.parts();
    yield endRecords({ count, offset, length });
  }

  #begin({ path, entry, xattrs, file }: Walked): ZipEntry | undefined {
    const type = TYPE_BITS[entry.kind];
    if (path === '') return undefined; // a zip has no entry for its root
    if (type === undefined) {
      this.#warn(path, `is a ${entry.kind}, which zip does not hold; use tar`);
      return undefined;
    }
    if (xattrs.length > 0)
      this.#warn(path, 'has extended attributes, which zip does not hold; use tar');
    const isDirectory = entry.kind === 'directory';
    const name = Buffer.from(isDirectory ? `${path}/` : path, 'latin1');
    if (name.length > NAME_BYTES_MAX)
      throw new HoldfastError(
        'ENOTSUP',
        'a path of more than 65,535 bytes does not fit into a zip',
      );
    const isAscii = name.every((byte) => byte < 0x80);
    return {
      name,
      flags: !isAscii && isUtf8(name) ? ZIP_FLAG.utf8 : 0,
      method: STORED,
      mode: type | entry.mode,
      isDirectory,
      uid: entry.uid,
      gid: entry.gid,
      mtimeNs: entry.mtimeNs,
      atimeNs: entry.atimeNs,
      offset: this.#offset,
      isWide: (file?.size ?? 0) >= WIDE_BYTES_MIN,
    };
  }

  async #read(walked: Walked, file: SourceFile): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of this.#content(walked, file)) parts.push(part);
    return Buffer.concat(parts);
  }

  /** Content with its sizes before it. */
  async *#whole(made: ZipEntry, content: Buffer): AsyncGenerator<Buffer> {
    const packed = content.length === 0 ? content : await deflated(content);
    const isSmaller = packed.length < content.length;
    const entry = { ...made, method: isSmaller ? DEFLATED : STORED };
    const bytes = isSmaller ? packed : content;
    const sizes = { crc: crc32(content), packed: bytes.length, plain: content.length };
    yield* this.#count([localHeader(entry, sizes), bytes]);
    this.#directory.add(centralHeader(entry, sizes));
  }

  /** Content that is packed while it is read; its sizes follow it. */
  async *#large(made: ZipEntry, walked: Walked, file: SourceFile): AsyncGenerator<Buffer> {
    const entry = { ...made, method: DEFLATED, flags: made.flags | ZIP_FLAG.descriptor };
    const sizes = { crc: 0, packed: 0, plain: 0 };
    yield* this.#count([localHeader(entry)]);
    const counted = this.#counted(this.#content(walked, file), sizes);
    const packing = pipeline(
      Readable.from(counted, { objectMode: false }),
      createDeflateRaw(),
      () => {},
    ) as AsyncIterable<Buffer>;
    for await (const bytes of packing) {
      sizes.packed += bytes.length;
      yield* this.#count([bytes]);
    }
    yield* this.#count([dataDescriptor(entry, sizes)]);
    this.#directory.add(centralHeader(entry, sizes));
  }

  async *#counted(
    content: AsyncIterable<Buffer>,
    sizes: { -readonly [Name in keyof ZipSizes]: number },
  ): AsyncGenerator<Buffer> {
    for await (const bytes of content) {
      sizes.crc = crc32(bytes, sizes.crc);
      sizes.plain += bytes.length;
      yield bytes;
    }
  }

  #content({ path }: Walked, file: SourceFile): AsyncGenerator<Buffer> {
    let isTold = false;
    return contentOf(file, { offset: 0, length: file.size }, () => {
      if (!isTold) this.#warn(path, 'became shorter while it was read; filled with zeros');
      isTold = true;
    });
  }

  *#count(parts: readonly Buffer[]): Generator<Buffer> {
    for (const part of parts) {
      this.#offset += part.length;
      if (part.length > 0) yield part;
    }
  }
}

/** A tree as the bytes of a zip archive. Memory: about 150 bytes and the path of every entry. */
export async function* zipBytes(source: TreeSource, report: WriterReport): AsyncGenerator<Buffer> {
  const writer = new ZipWriter(report.onWarning);
  for await (const walked of walk(source, { warn: report.onWarning, hardLinks: false })) {
    yield* writer.entry(walked);
    report.onEntry(walked);
  }
  yield* writer.end();
}
