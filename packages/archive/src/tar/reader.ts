/**
 * Reads tar archives as GNU tar, bsdtar, Python and the tars before them write them: v7, ustar, old
 * GNU (long names, binary numbers, sparse files), PAX with its sparse files.
 */
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { ByteRange, Xattr } from '@holdfast/tree';
import type { ByteReader } from '../byte-reader.ts';
import type { ArchivedEntry, ArchiveWarning, Piece } from '../entry.ts';
import { HostIds } from '../host-ids.ts';
import { ARCHIVE_LIMITS } from '../limits.ts';
import { shown } from '../safe-path.ts';
import { aclsIn } from './acl-text.ts';
import { BLOCK, decodeHeader, paddingOf, type TarHeader } from './header.ts';
import { decodePax, type PaxRecord, parsePaxNumber, parsePaxTime, xattrName } from './pax.ts';
import { checkStretches, readOldSparseMap, readSparseMap, stretchesInPax } from './sparse-map.ts';

const NS_PER_S = 1_000_000_000n;

const KIND_OF_TYPE: Readonly<Record<string, FileKind>> = {
  '0': 'file',
  '7': 'file',
  S: 'file',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  D: 'directory',
  '6': 'fifo',
};

/** Hard links, symbolic links, devices, directories, fifos. */
const HEADER_ONLY: ReadonlySet<string> = new Set(['1', '2', '3', '4', '5', '6']);

/** What stands before an entry and speaks of it. */
interface Preface {
  records: PaxRecord[];
  longName?: string;
  longLink?: string;
}

function corrupt(why: string): HoldfastError {
  return new HoldfastError('CORRUPT', `the archive is damaged: ${why}`);
}

/** Entries of one archive, in its order. */
export class TarReader {
  readonly #bytes: ByteReader;
  readonly #warn: ArchiveWarning;
  readonly #ids = new HostIds();
  #global: PaxRecord[] = [];
  /** Bytes of the present entry that nobody has taken yet, its padding included. */
  #left = 0;

  constructor(bytes: ByteReader, warn: ArchiveWarning) {
    this.#bytes = bytes;
    this.#warn = warn;
  }

  /** Every entry; CORRUPT when the archive is damaged or ends without its end mark. */
  async *entries(): AsyncGenerator<ArchivedEntry> {
    let preface: Preface = { records: [] };
    for (;;) {
      await this.#skipRest();
      const block = await this.#bytes.upTo(BLOCK);
      if (block.length < BLOCK) throw this.#cutOff(block);
      if (isZero(block)) break;
      const header = decodeHeader(block);
      if (header.size < 0) throw corrupt('a size is negative');
      this.#left = header.size + paddingOf(header.size);
      if (await this.#isPreface(header, preface)) continue;
      const entry = await this.#entry(header, block, preface);
      preface = { records: [] };
      if (entry !== undefined) yield entry;
    }
    if (preface.records.length > 0 || preface.longName !== undefined)
      throw corrupt('it ends with the header of an entry that does not follow');
    await this.#bytes.drain();
  }

  #cutOff(block: Buffer): HoldfastError {
    return corrupt(
      block.length === 0
        ? 'it has no end mark, so that it may have been cut off'
        : 'it was cut off in the middle of a header',
    );
  }

  async #skipRest(): Promise<void> {
    const left = this.#left;
    this.#left = 0;
    await this.#bytes.skip(left, 'a file');
  }

  /** Takes headers that speak of what follows. */
  async #isPreface(header: TarHeader, preface: Preface): Promise<boolean> {
    switch (header.type) {
      case 'x':
      case 'X':
        preface.records = decodePax(await this.#whole(header));
        return true;
      case 'g':
        this.#global = [...this.#global, ...decodePax(await this.#whole(header))];
        if (this.#global.length > 10_000) throw corrupt('it has too many global headers');
        return true;
      case 'L':
        preface.longName = cString(await this.#whole(header));
        return true;
      case 'K':
        preface.longLink = cString(await this.#whole(header));
        return true;
      case 'V':
        return true; // the volume's label
      default:
        return false;
    }
  }

  /** Content of a header that is kept in memory. */
  async #whole(header: TarHeader): Promise<Buffer> {
    if (header.size > ARCHIVE_LIMITS.paxBytesMax)
      throw new HoldfastError(
        'TOO_LARGE',
        `a header of the archive has ${header.size} bytes; ${ARCHIVE_LIMITS.paxBytesMax} are allowed`,
      );
    this.#left = paddingOf(header.size);
    return this.#bytes.exactly(header.size, 'a header');
  }

  async #entry(
    header: TarHeader,
    block: Buffer,
    preface: Preface,
  ): Promise<ArchivedEntry | undefined> {
    const records = [...this.#global, ...preface.records];
    const last = new Map(records);
    const paxSize = last.get('size');
    const stated = paxSize === undefined ? header.size : parsePaxNumber(paxSize, 'a size');
    // Whatever size a link or a device states, nothing of it follows.
    const stored = HEADER_ONLY.has(header.type) ? 0 : stated;
    this.#left = stored + paddingOf(stored);
    const path = last.get('GNU.sparse.name') ?? last.get('path') ?? preface.longName ?? header.name;
    const target = last.get('linkpath') ?? preface.longLink ?? header.linkName;
    // Before POSIX a directory was a file whose name ends in a slash.
    const type = header.type === '0' && path.endsWith('/') ? '5' : header.type;
    const common = { path, name: '', ...this.#attributes(path, header, last) };
    if (type === '1')
      return { ...common, kind: 'file', linkTo: target, size: 0, rdev: 0n, target: '' };
    const kind = KIND_OF_TYPE[type];
    if (kind === undefined) {
      if (type === 'M') throw corrupt('it is a part of an archive in several volumes');
      throw corrupt(`the entry ${shown(path)} has the unknown type ${shown(type)}`);
    }
    const entry = { ...common, kind, target: kind === 'symlink' ? target : '' };
    if (kind !== 'file') return { ...entry, size: 0, rdev: rdevOf(kind, header) };
    return this.#file({ ...entry, size: stored, rdev: 0n }, { type, block, records, last });
  }

  /** All attributes, and what becomes of the mode where an ACL is left out. */
  #attributes(
    path: string,
    header: TarHeader,
    last: ReadonlyMap<string, string>,
  ): Pick<ArchivedEntry, 'mode' | 'uid' | 'gid' | 'mtimeNs' | 'atimeNs' | 'xattrs'> {
    const attributes = attributesOf(header, last);
    const acls = aclsIn(last, this.#ids);
    for (const problem of acls.problems) this.#warn(path, problem);
    const others = xattrsOf(last).filter(
      ({ name }) => !acls.xattrs.some((acl) => acl.name === name),
    );
    const { groupRights = 7, permissions = attributes.mode & 0o777 } = acls;
    const mode = (attributes.mode & ~0o777) | (permissions & (0o707 | (groupRights << 3)));
    return { ...attributes, mode, xattrs: [...others, ...acls.xattrs] };
  }

  async #file(
    entry: ArchivedEntry,
    of: { type: string; block: Buffer; records: PaxRecord[]; last: ReadonlyMap<string, string> },
  ): Promise<ArchivedEntry> {
    const sparse = await this.#sparse(entry, of);
    const size = sparse?.size ?? entry.size;
    const ranges = sparse?.ranges ?? [{ offset: 0, length: entry.size }];
    let isTaken = false;
    const pieces = (): AsyncIterable<Piece> => {
      if (isTaken) throw new HoldfastError('INTERNAL', 'the content of an entry is read once');
      isTaken = true;
      return this.#pieces(ranges, entry.path);
    };
    return { ...entry, size, pieces };
  }

  /** Size and stretches of a sparse file in any of its four forms. */
  async #sparse(
    entry: ArchivedEntry,
    {
      type,
      block,
      records,
      last,
    }: {
      type: string;
      block: Buffer;
      records: PaxRecord[];
      last: ReadonlyMap<string, string>;
    },
  ): Promise<{ size: number; ranges: readonly ByteRange[] } | undefined> {
    const nextBlock = (): Promise<Buffer> => this.#bytes.exactly(BLOCK, shown(entry.path));
    if (type === 'S') {
      const { ranges, size } = await readOldSparseMap(block, nextBlock);
      return { size, ranges: checkStretches(ranges, { size, stored: entry.size }) };
    }
    const stated = last.get('GNU.sparse.realsize') ?? last.get('GNU.sparse.size');
    if (stated === undefined) return undefined;
    const size = parsePaxNumber(stated, 'the size of a sparse file');
    if (last.get('GNU.sparse.major') === '1') {
      const { ranges, bytes } = await readSparseMap(async () => {
        if (this.#left < BLOCK) throw corrupt('the list of a sparse file is longer than its data');
        this.#left -= BLOCK;
        return nextBlock();
      });
      const stored = entry.size - bytes;
      return { size, ranges: checkStretches(ranges, { size, stored }) };
    }
    const ranges = stretchesInPax(records);
    if (ranges === undefined) throw corrupt(`${shown(entry.path)} is sparse in an unknown form`);
    return { size, ranges: checkStretches(ranges, { size, stored: entry.size }) };
  }

  async *#pieces(ranges: readonly ByteRange[], path: string): AsyncGenerator<Piece> {
    for (const { offset, length } of ranges) {
      for (let done = 0; done < length; ) {
        const bytes = await this.#bytes.some(length - done);
        if (bytes.length === 0) throw corrupt(`it was cut off in the middle of ${shown(path)}`);
        this.#left -= bytes.length;
        yield { offset: offset + done, bytes };
        done += bytes.length;
      }
    }
  }
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

function cString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

function rdevOf(kind: FileKind, { major, minor }: TarHeader): bigint {
  if (kind !== 'char' && kind !== 'block') return 0n;
  const [high, low] = [BigInt(major), BigInt(minor)];
  if (high < 0n || low < 0n || high >= 2n ** 32n || low >= 2n ** 32n)
    throw corrupt('a device has no such number');
  // gnu_dev_makedev
  return (
    (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n)
  );
}

function idOf(text: string | undefined, field: number, what: string): number {
  const id = text === undefined ? field : parsePaxNumber(text, what);
  if (id < 0 || id > 0xffff_fffe) throw corrupt(`${what} is out of range`);
  return id;
}

function attributesOf(
  header: TarHeader,
  last: ReadonlyMap<string, string>,
): { mode: number; uid: number; gid: number; mtimeNs: bigint; atimeNs: bigint } {
  const mtime = last.get('mtime');
  const atime = last.get('atime');
  const mtimeNs = mtime === undefined ? BigInt(header.mtime) * NS_PER_S : parsePaxTime(mtime);
  return {
    mode: header.mode,
    uid: idOf(last.get('uid'), header.uid, 'an owner'),
    gid: idOf(last.get('gid'), header.gid, 'a group'),
    mtimeNs,
    atimeNs: atime === undefined ? mtimeNs : parsePaxTime(atime),
  };
}

/** Attributes as star and GNU tar write them, and as bsdtar does where it is not told otherwise. */
function xattrsOf(last: ReadonlyMap<string, string>): Xattr[] {
  const found = new Map<string, Uint8Array>();
  for (const [key, value] of last) {
    const name = xattrName(key);
    if (name !== undefined) found.set(name, Buffer.from(value, 'latin1'));
    else if (key.startsWith('LIBARCHIVE.xattr.')) {
      const escaped = key.slice('LIBARCHIVE.xattr.'.length);
      const plain = escaped.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
      if (!found.has(plain)) found.set(plain, Buffer.from(value, 'base64'));
    }
  }
  return [...found].map(([name, value]) => ({ name, value }));
}
