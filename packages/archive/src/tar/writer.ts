/** Writes tar archives in PAX format, as GNU tar with --format=posix --xattrs --acls --sparse does. */
import { isUtf8 } from 'node:buffer';
import { type FileKind, HoldfastError } from '@holdfast/protocol';
import type { ByteRange, TreeSource } from '@holdfast/tree';
import type { ArchiveWarning } from '../entry.ts';
import { contentOf, type Walked, type WriterReport, walk } from '../walk.ts';
import { aclRecord } from './acl-text.ts';
import { BLOCK, encodeHeader, OCTAL_MAX, paddingOf, splitUstar, type TarHeader } from './header.ts';
import { encodePax, paxTime, xattrKey } from './pax.ts';
import { encodeSparseMap, stretchesOf } from './sparse-map.ts';

/** Blocks of a record: GNU tar reads and writes ten KiB at a time. */
const RECORD_BYTES = 20 * BLOCK;
const NS_PER_S = 1_000_000_000n;

const TYPE_OF_KIND: Readonly<Record<Exclude<FileKind, 'socket'>, string>> = {
  file: '0',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** Whether text fits a field that is read as ASCII. */
function isPlain(text: string): boolean {
  return Buffer.from(text, 'latin1').every((byte) => byte < 0x80);
}

/** Records and header fields of an entry; `path` as it stands in the archive. */
class EntryHeader {
  readonly #records = new Map<string, string>();
  #header: TarHeader;

  constructor(path: string, { entry, xattrs }: Walked, type: string) {
    const isDevice = type === '3' || type === '4';
    this.#header = {
      name: path,
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      size: 0,
      mtime: Number(floorSeconds(entry.mtimeNs)),
      type,
      linkName: '',
      major: isDevice ? Number(majorOf(entry.rdev)) : 0,
      minor: isDevice ? Number(minorOf(entry.rdev)) : 0,
    };
    const { mtime, uid, gid, major, minor } = this.#header;
    if (!isPlain(path) || splitUstar(path) === undefined) this.#set('path', path);
    if (uid > OCTAL_MAX.short) this.#set('uid', String(uid));
    if (gid > OCTAL_MAX.short) this.#set('gid', String(gid));
    if (major > OCTAL_MAX.short || minor > OCTAL_MAX.short)
      throw new HoldfastError('ENOTSUP', 'a device number does not fit into an archive');
    const isWhole = entry.mtimeNs % NS_PER_S === 0n;
    if (!isWhole || mtime < 0 || mtime > OCTAL_MAX.long) this.#set('mtime', paxTime(entry.mtimeNs));
    if (entry.atimeNs !== entry.mtimeNs) this.#set('atime', paxTime(entry.atimeNs));
    for (const { name, value } of xattrs.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
      this.#attribute(name, value);
  }

  #attribute(name: string, value: Uint8Array): void {
    const acl = aclRecord({ name, value });
    if (acl === undefined) this.#records.set(xattrKey(name), Buffer.from(value).toString('latin1'));
    else this.#records.set(...acl);
  }

  link(target: string): void {
    this.#header = { ...this.#header, linkName: target };
    if (!isPlain(target) || target.length > 100) this.#set('linkpath', target);
  }

  /** Bytes that follow the header. */
  size(bytes: number): void {
    this.#header = { ...this.#header, size: bytes };
    if (bytes > OCTAL_MAX.long) this.#set('size', String(bytes));
  }

  /** Content is a list of stretches and then their bytes (GNU.sparse 1.0). */
  sparse(path: string, size: number): void {
    this.#records.delete('path');
    this.#records.set('GNU.sparse.major', '1');
    this.#records.set('GNU.sparse.minor', '0');
    this.#set('GNU.sparse.name', path);
    this.#records.set('GNU.sparse.realsize', String(size));
    this.#header = { ...this.#header, name: besides(path, 'GNUSparseFile.0') };
  }

  /** The header's blocks, those of its PAX records first. */
  bytes(): Buffer {
    const header = encodeHeader(this.#header);
    if (this.#records.size === 0) return header;
    const records = encodePax(this.#records);
    const { mtime } = this.#header;
    const pax = encodeHeader({
      ...this.#header,
      name: besides(this.#header.name, 'PaxHeaders'),
      mode: 0o644,
      uid: 0,
      gid: 0,
      size: records.length,
      mtime: Math.min(Math.max(0, mtime), OCTAL_MAX.long),
      type: 'x',
      linkName: '',
      major: 0,
      minor: 0,
    });
    return Buffer.concat([pax, records, Buffer.alloc(paddingOf(records.length)), header]);
  }

  #set(key: string, text: string): void {
    // Values are UTF-8 unless hdrcharset, before them, says otherwise. GNU tar does not know the word
    // and says so, but takes the bytes as they are; bsdtar refuses them without it.
    if (!isUtf8(Buffer.from(text, 'latin1')) && !this.#records.has('hdrcharset')) {
      const others = [...this.#records];
      this.#records.clear();
      this.#records.set('hdrcharset', 'BINARY');
      for (const [other, value] of others) this.#records.set(other, value);
    }
    this.#records.set(key, text);
  }
}

/** A name for a header that old readers take for a file of its own. */
function besides(path: string, directory: string): string {
  const plain = path.replace(/\/$/, '');
  const slash = plain.lastIndexOf('/');
  const base = plain.slice(slash + 1).replace(/[^\x20-\x7e]/g, '_');
  const above = slash > 0 && slash <= 40 && isPlain(plain) ? plain.slice(0, slash + 1) : './';
  return `${above}${directory}/${base}`.slice(0, 100);
}

function floorSeconds(ns: bigint): bigint {
  const rest = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
  return (ns - rest) / NS_PER_S;
}

/** gnu_dev_major */
function majorOf(rdev: bigint): bigint {
  return ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
}

/** gnu_dev_minor */
function minorOf(rdev: bigint): bigint {
  return (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
}

async function* fileBytes(
  path: string,
  walked: Walked,
  warn: ArchiveWarning,
): AsyncGenerator<Buffer> {
  const header = new EntryHeader(path, walked, TYPE_OF_KIND.file);
  const { file } = walked;
  if (file === undefined) throw new HoldfastError('INTERNAL', 'a file of a walk is open');
  const stretches = stretchesOf(await file.dataRanges(), file.size);
  let ranges: readonly ByteRange[] = [{ offset: 0, length: file.size }];
  let map: Buffer = Buffer.alloc(0);
  if (stretches !== undefined) {
    ranges = stretches;
    // GNU tar marks a hole at the end by an empty stretch there.
    const last = stretches.at(-1);
    const endsInHole = last === undefined || last.offset + last.length < file.size;
    map = encodeSparseMap(
      endsInHole ? [...stretches, { offset: file.size, length: 0 }] : stretches,
    );
    header.sparse(path, file.size);
  }
  const stored = map.length + ranges.reduce((sum, { length }) => sum + length, 0);
  header.size(stored);
  yield Buffer.concat([header.bytes(), map]);
  let isTold = false;
  const onShort = (): void => {
    if (!isTold) warn(walked.path, 'became shorter while it was read; filled with zeros');
    isTold = true;
  };
  for (const range of ranges) yield* contentOf(file, range, onShort);
  if (paddingOf(stored) > 0) yield Buffer.alloc(paddingOf(stored));
}

async function* entryBytes(walked: Walked, warn: ArchiveWarning): AsyncGenerator<Buffer> {
  const { entry, sameAs } = walked;
  if (entry.kind === 'socket') {
    warn(walked.path, 'is a socket, which archives do not hold');
    return;
  }
  const path = `./${walked.path}${entry.kind === 'directory' && walked.path !== '' ? '/' : ''}`;
  if (sameAs !== undefined) {
    const header = new EntryHeader(path, walked, '1');
    header.link(`./${sameAs}`);
    yield header.bytes();
  } else if (entry.kind === 'file') yield* fileBytes(path, walked, warn);
  else {
    const header = new EntryHeader(path, walked, TYPE_OF_KIND[entry.kind]);
    if (entry.kind === 'symlink') header.link(entry.target);
    yield header.bytes();
  }
}

/** A tree as the bytes of a tar archive. The same tree gives the same bytes. */
export async function* tarBytes(source: TreeSource, report: WriterReport): AsyncGenerator<Buffer> {
  let total = 0;
  for await (const walked of walk(source, { warn: report.onWarning, hardLinks: true })) {
    for await (const bytes of entryBytes(walked, report.onWarning)) {
      total += bytes.length;
      yield bytes;
    }
    report.onEntry(walked);
  }
  const end = total + 2 * BLOCK;
  yield Buffer.alloc(2 * BLOCK + ((RECORD_BYTES - (end % RECORD_BYTES)) % RECORD_BYTES));
}
