/** A directory of the namespace, such as a volume's root, as a tree to read. */
import {
  type Attributes,
  type FileSystem,
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type NodeReference,
  type RequestContext,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { ByteRange, Xattr } from './entry.ts';
import type { SourceEntry, SourceFile, TreeSource } from './source.ts';
import { isStageName } from './stage-names.ts';
import { readInto } from './volume-read.ts';

/** Targets of symbolic links that are asked for at a time. */
const TARGETS_MAX = 16;

function entryOf(
  name: string,
  node: NodeReference,
  attributes: Attributes,
  { device, target = '' }: { readonly device: VolumeNumber; readonly target?: string },
): SourceEntry {
  const { kind, mode, uid, gid, mtimeNs, atimeNs, ctimeNs, nlink, size, rdev } = attributes;
  return {
    name,
    kind,
    mode,
    uid,
    gid,
    mtimeNs,
    atimeNs,
    ctimeNs,
    inode: BigInt(node.ino),
    deviceId: BigInt(device),
    links: nlink,
    size: kind === 'file' ? size : 0,
    rdev: kind === 'char' || kind === 'block' ? BigInt(rdev) : 0n,
    target,
  };
}

function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : '';
}

/** What is removed while it is read is NOT_FOUND, as the seam promises. */
function failed(error: unknown, path: string): unknown {
  if (!['ENOENT', 'ESTALE'].includes(codeOf(error))) return error;
  return new HoldfastError('NOT_FOUND', `${path} is gone`, { cause: error, detail: { path } });
}

class VolumeFile implements SourceFile {
  readonly size: number;
  readonly #fileSystem: FileSystem;
  readonly #node: NodeReference;
  readonly #context: RequestContext;
  readonly #isSparse: boolean;

  constructor(
    fileSystem: FileSystem,
    file: { node: NodeReference; attributes: Attributes },
    context: RequestContext,
  ) {
    this.#fileSystem = fileSystem;
    this.#node = file.node;
    this.#context = context;
    this.size = file.attributes.size;
    this.#isSparse = file.attributes.allocatedBytes < file.attributes.size;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    const file = { fileSystem: this.#fileSystem, node: this.#node, context: () => this.#context };
    return readInto(file, into, offset);
  }

  async dataRanges(
    { offset, length }: ByteRange = { offset: 0, length: this.size },
  ): Promise<readonly ByteRange[] | undefined> {
    if (!this.#isSparse) return undefined;
    const ranges: ByteRange[] = [];
    const last = Math.min(this.size, offset + length);
    for (let at = offset; at < last; ) {
      const start = await this.#seek(at, 'data');
      if (start === undefined || start >= last) break;
      const end = Math.min(last, (await this.#seek(start, 'hole')) ?? last);
      ranges.push({ offset: start, length: end - start });
      at = end;
    }
    return ranges;
  }

  async changedRanges(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    await this.#fileSystem.release(this.#node, { write: false });
  }

  async #seek(offset: number, whence: 'data' | 'hole'): Promise<number | undefined> {
    try {
      return await this.#fileSystem.seek(this.#node, offset, whence, this.#context);
    } catch (error) {
      if (codeOf(error) === 'ENXIO') return undefined;
      throw error;
    }
  }
}

/** A {@link TreeSource} over a directory of the namespace. It reads as root and needs no mount. */
export class VolumeSource implements TreeSource {
  readonly #fileSystem: FileSystem;
  readonly #root: NodeReference;
  readonly #context: RequestContext;
  readonly #device: VolumeNumber;

  /**
   * `device`: what its entries show as their device, the number of the root's volume by default. A
   * snapshot has another number each time; shown under its volume's, its files are the same as before.
   */
  constructor(
    fileSystem: FileSystem,
    root: NodeReference,
    { signal, device = root.volume }: { signal?: AbortSignal; device?: VolumeNumber } = {},
  ) {
    this.#fileSystem = fileSystem;
    this.#root = root;
    this.#device = device;
    const asked = { uid: 0, gid: 0, pid: 0, requestId: 0 };
    this.#context = signal === undefined ? asked : { ...asked, signal };
  }

  async root(): Promise<SourceEntry> {
    const { attributes } = await this.#fileSystem.getAttributes(this.#root, this.#context);
    return entryOf('', this.#root, attributes, { device: this.#device });
  }

  /** An inode by its number, without a name. NOT_FOUND. */
  async entryAt(ino: InodeNumber): Promise<SourceEntry> {
    const node = { volume: this.#root.volume, ino };
    const what = `inode ${ino}`;
    const { attributes } = await this.#attempt(what, () =>
      this.#fileSystem.getAttributes(node, this.#context),
    );
    const found = await this.#listed({ name: '', node, attributes });
    if (found !== undefined) return found;
    throw new HoldfastError('NOT_FOUND', `${what} is gone`);
  }

  /** What a path leads to, without following symbolic links: '' is the root. NOT_FOUND, ENOTDIR. */
  async find(path: string): Promise<SourceEntry> {
    if (path === '') return this.root();
    let [name, node]: [string, NodeReference] = ['', this.#root];
    let found: SourceEntry | undefined;
    for (name of path.split('/')) {
      const parent = node;
      const answer = await this.#attempt(path, () =>
        this.#fileSystem.lookup(parent, name, this.#context),
      );
      node = answer.node;
      found = await this.#listed({ name, ...answer });
    }
    if (found !== undefined && node.volume === this.#root.volume) return found;
    throw new HoldfastError('NOT_FOUND', `${path} is gone`, { detail: { path } });
  }

  list(path: string, entry: SourceEntry): AsyncIterable<SourceEntry> {
    return this.#entries(path, path === '' ? this.#root : this.#nodeOf(entry));
  }

  /** What {@link list} gives for a directory, by its number. */
  listAt(ino: InodeNumber): AsyncIterable<SourceEntry> {
    const isRoot = ino === this.#root.ino;
    return this.#entries(isRoot ? '' : `inode ${ino}`, { volume: this.#root.volume, ino });
  }

  async *#entries(path: string, node: NodeReference): AsyncIterable<SourceEntry> {
    for (let cookie = 0; ; ) {
      const page = await this.#attempt(path, () =>
        this.#fileSystem.readDirectory(node, cookie, LIMITS.directoryEntriesMax, this.#context),
      );
      for (let at = 0; at < page.entries.length; at += TARGETS_MAX) {
        const some = page.entries.slice(at, at + TARGETS_MAX);
        for (const found of await Promise.all(some.map((listed) => this.#listed(listed)))) {
          const isContent = path !== '' || !isStageName(found?.name ?? '');
          if (found !== undefined && isContent) yield found;
        }
      }
      const last = page.entries.at(-1);
      if (page.end || last === undefined) return;
      cookie = last.cookie;
    }
  }

  async xattrs(path: string, entry: SourceEntry): Promise<readonly Xattr[]> {
    const node = path === '' ? this.#root : this.#nodeOf(entry);
    const names = await this.#attempt(path, () => this.#fileSystem.listXattrs(node, this.#context));
    const values: Xattr[] = [];
    for (const name of names) {
      try {
        values.push({ name, value: await this.#fileSystem.getXattr(node, name, this.#context) });
      } catch (error) {
        if (codeOf(error) !== 'ENODATA') throw failed(error, path);
      }
    }
    return values;
  }

  async open(path: string, entry: SourceEntry): Promise<SourceFile> {
    const node = this.#nodeOf(entry);
    return this.#attempt(path, async () => {
      await this.#fileSystem.open(node, { write: false, truncate: false }, this.#context);
      try {
        const { attributes } = await this.#fileSystem.getAttributes(node, this.#context);
        return new VolumeFile(this.#fileSystem, { node, attributes }, this.#context);
      } catch (error) {
        await this.#fileSystem.release(node, { write: false });
        throw error;
      }
    });
  }

  /** A volume is one tree: no name in it leads to another volume. */
  #nodeOf({ inode }: SourceEntry): NodeReference {
    return { volume: this.#root.volume, ino: Number(inode) as InodeNumber };
  }

  /** An entry of a listing; `undefined` for a link that was removed since. */
  async #listed(listed: {
    readonly name: string;
    readonly node: NodeReference;
    readonly attributes: Attributes;
  }): Promise<SourceEntry | undefined> {
    const { name, node, attributes } = listed;
    const device = this.#device;
    if (attributes.kind !== 'symlink') return entryOf(name, node, attributes, { device });
    try {
      const target = await this.#fileSystem.readLink(node, this.#context);
      return entryOf(name, node, attributes, { device, target });
    } catch (error) {
      if (['ENOENT', 'ESTALE'].includes(codeOf(error))) return undefined;
      throw error;
    }
  }

  async #attempt<T>(path: string, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw failed(error, path);
    }
  }
}
