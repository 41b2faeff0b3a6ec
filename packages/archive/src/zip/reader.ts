/** Reads zip archives from a file, by their central directory; yauzl knows the records. */
import { constants } from 'node:fs';
import { crc32 } from 'node:zlib';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import { type Entry, type ExtraField, fromFdPromise, parseExtraFields, type ZipFile } from 'yauzl';
import type { ArchivedEntry, Piece } from '../entry.ts';
import { ARCHIVE_LIMITS } from '../limits.ts';
import { shown } from '../safe-path.ts';
import { fromCodePage437 } from './code-page.ts';
import { ZIP_FLAG } from './records.ts';

const NS_PER_S = 1_000_000_000n;
/** 100 ns between 1601 and 1970. */
const NTFS_EPOCH = 116_444_736_000_000_000n;
const HOST = { dos: 0, unix: 3, darwin: 19 } as const;

const KIND_OF_BITS: Readonly<Record<number, FileKind>> = {
  [constants.S_IFREG]: 'file',
  [constants.S_IFDIR]: 'directory',
  [constants.S_IFLNK]: 'symlink',
};

function corrupt(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('CORRUPT', `the archive is damaged: ${why}`, { cause });
}

/** What a refusal of yauzl is in our words: its messages name what is wrong. */
function failed(error: unknown): unknown {
  if (error instanceof HoldfastError) return error;
  return corrupt(error instanceof Error ? error.message : String(error), error);
}

function nameOf(entry: Entry): string {
  const raw = entry.fileNameRaw;
  const isDos = entry.versionMadeBy >> 8 === HOST.dos;
  if (!isDos) return raw.toString('latin1');
  const isUtf8 = (entry.generalPurposeBitFlag & ZIP_FLAG.utf8) !== 0;
  const bytes = isUtf8 ? raw : fromCodePage437(raw);
  return bytes.toString('latin1').replaceAll('\\', '/');
}

function kindOf(entry: Entry, path: string): { kind: FileKind; mode: number } {
  const host = entry.versionMadeBy >> 8;
  const bits = entry.externalFileAttributes >>> 16;
  const isUnix = (host === HOST.unix || host === HOST.darwin) && bits !== 0;
  const isDirectory = path.endsWith('/') || (!isUnix && (entry.externalFileAttributes & 16) !== 0);
  if (!isUnix)
    return isDirectory ? { kind: 'directory', mode: 0o755 } : { kind: 'file', mode: 0o644 };
  const type = bits & constants.S_IFMT;
  const kind = type === 0 ? 'file' : KIND_OF_BITS[type];
  if (kind === undefined)
    throw corrupt(`the entry ${shown(path)} is a device, fifo or socket, which zip does not hold`);
  if (isDirectory !== (kind === 'directory') && isDirectory)
    return { kind: 'directory', mode: bits & 0o7777 };
  return { kind, mode: bits & 0o7777 };
}

function fieldOf(fields: readonly ExtraField[], id: number): Buffer | undefined {
  return fields.find((field) => field.id === id)?.data;
}

/** Nanoseconds since the epoch; `undefined` for 0, which 7-Zip writes for what it does not know. */
function ntfsTime(field: Buffer, offset: number): bigint | undefined {
  const ticks = field.readBigUInt64LE(offset);
  return ticks === 0n ? undefined : (ticks - NTFS_EPOCH) * 100n;
}

/** Times of "UT" or of NTFS, else those of MS-DOS, which name no zone: this host's. */
function timesOf(
  entry: Entry,
  fields: readonly ExtraField[],
): { mtimeNs: bigint; atimeNs: bigint } {
  const unix = fieldOf(fields, 0x5455);
  if (unix !== undefined && unix.length >= 5 && (unix[0]! & 1) !== 0) {
    const mtimeNs = BigInt(unix.readInt32LE(1)) * NS_PER_S;
    const hasAtime = (unix[0]! & 2) !== 0 && unix.length >= 9;
    return { mtimeNs, atimeNs: hasAtime ? BigInt(unix.readInt32LE(5)) * NS_PER_S : mtimeNs };
  }
  const ntfs = fieldOf(fields, 0x000a);
  if (ntfs !== undefined && ntfs.length >= 32 && ntfs.readUInt16LE(4) === 1) {
    const [mtimeNs, atimeNs] = [ntfsTime(ntfs, 8), ntfsTime(ntfs, 16)];
    if (mtimeNs !== undefined) return { mtimeNs, atimeNs: atimeNs ?? mtimeNs };
  }
  const dos = entry.getLastModDate({ forceDosFormat: true }).getTime();
  const mtimeNs = BigInt(Number.isFinite(dos) ? dos : 0) * 1_000_000n;
  return { mtimeNs, atimeNs: mtimeNs };
}

/** Owner and group of "ux", or of the older "Ux"; root without them. */
function ownerOf(fields: readonly ExtraField[]): { uid: number; gid: number } {
  const data = fieldOf(fields, 0x7875);
  const uidLength = data?.[1] ?? 0;
  const gidLength = data?.[2 + uidLength] ?? 0;
  const isKnown =
    data !== undefined && uidLength > 0 && uidLength <= 6 && gidLength > 0 && gidLength <= 6;
  if (isKnown && data.length >= 3 + uidLength + gidLength) {
    const uid = data.readUIntLE(2, uidLength);
    const gid = data.readUIntLE(3 + uidLength, gidLength);
    if (uid < 0xffff_ffff && gid < 0xffff_ffff) return { uid, gid };
  }
  const old = fieldOf(fields, 0x7855);
  if (old !== undefined && old.length >= 4)
    return { uid: old.readUInt16LE(0), gid: old.readUInt16LE(2) };
  return { uid: 0, gid: 0 };
}

/** Entries of one archive, in the order of its central directory. */
export class ZipReader {
  readonly #zip: ZipFile;
  /** Bytes of the archive that entries have claimed: of an honest one no more than there are. */
  #claimed = 0;

  private constructor(zip: ZipFile) {
    this.#zip = zip;
  }

  /** Over an open file, which stays the caller's to close. CORRUPT when it is no zip archive. */
  static async open(descriptor: number): Promise<ZipReader> {
    try {
      const options = { autoClose: false, lazyEntries: true, decodeStrings: false };
      return new ZipReader(await fromFdPromise(descriptor, options));
    } catch (error) {
      throw failed(error);
    }
  }

  /** Bytes of the whole archive. */
  get size(): number {
    return this.#zip.fileSize;
  }

  /** Every entry. CORRUPT when the archive is damaged. */
  async *entries(): AsyncGenerator<ArchivedEntry> {
    try {
      for await (const entry of this.#zip.eachEntry()) yield await this.#entry(entry);
    } catch (error) {
      throw failed(error);
    }
  }

  async #entry(entry: Entry): Promise<ArchivedEntry> {
    const path = nameOf(entry);
    if (path === '') throw corrupt('an entry has no name');
    if (entry.isEncrypted())
      throw new HoldfastError('ENOTSUP', `the entry ${shown(path)} is encrypted`);
    if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8)
      throw new HoldfastError(
        'ENOTSUP',
        `the entry ${shown(path)} is packed by method ${entry.compressionMethod}; only deflate is known`,
      );
    const fields = await this.#localFields(entry, path);
    const { kind, mode } = kindOf(entry, path);
    const common = { path, name: '', kind, mode, rdev: 0n, target: '', size: 0, xattrs: [] };
    const known = { ...common, ...ownerOf(fields), ...timesOf(entry, fields) };
    if (kind === 'directory') return known;
    if (kind === 'symlink') return { ...known, target: await this.#target(entry, path) };
    const pieces = (): AsyncIterable<Piece> => this.#pieces(entry, path);
    return { ...known, size: entry.uncompressedSize, pieces };
  }

  /** Extra fields, those of the local header first, which is compared with the central one. */
  async #localFields(entry: Entry, path: string): Promise<readonly ExtraField[]> {
    const local = await this.#zip.readLocalFileHeaderPromise(entry);
    if (!local.fileName.equals(entry.fileNameRaw))
      throw corrupt(`its two headers of ${shown(path)} name different files`);
    this.#claimed += local.fileDataStart - entry.relativeOffsetOfLocalHeader + entry.compressedSize;
    if (this.#claimed > this.#zip.fileSize)
      throw corrupt(`the entry ${shown(path)} lies over others`);
    try {
      return [...parseExtraFields(local.extraField), ...entry.extraFields];
    } catch {
      return entry.extraFields; // what the local header says besides is not needed
    }
  }

  async #target(entry: Entry, path: string): Promise<string> {
    if (entry.uncompressedSize > ARCHIVE_LIMITS.targetBytesMax)
      throw corrupt(`the symbolic link ${shown(path)} has ${entry.uncompressedSize} bytes`);
    const parts: Uint8Array[] = [];
    for await (const { bytes } of this.#pieces(entry, path)) parts.push(bytes);
    return Buffer.concat(parts).toString('latin1');
  }

  async *#pieces(entry: Entry, path: string): AsyncGenerator<Piece> {
    let offset = 0;
    let crc = 0;
    try {
      for await (const bytes of await this.#zip.openReadStreamPromise(entry)) {
        yield { offset, bytes: bytes as Buffer };
        crc = crc32(bytes as Buffer, crc);
        offset += (bytes as Buffer).length;
      }
    } catch (error) {
      throw failed(error);
    }
    if (offset !== entry.uncompressedSize || crc !== entry.crc32)
      throw corrupt(`the content of ${shown(path)} does not match its checksum`);
  }
}
