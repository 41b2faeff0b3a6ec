/** A directory of the namespace, such as a volume's root, as a tree to write. */
import {
  type Attributes,
  type FileSystem,
  HoldfastError,
  LIMITS,
  type NodeAnswer,
  type NodeReference,
  SNAPSHOTS_NAME,
} from '@holdfast/protocol';
import type {
  AttributeProblem,
  EnterOptions,
  FileOptions,
  Present,
  SinkDirectory,
  SinkEntry,
  SinkFile,
  TreeSink,
} from './sink.ts';
import { StageFiles } from './stage-files.ts';
import { isReservedName, isStageName } from './stage-names.ts';
import { codeOf, isBare, VolumeDoor } from './volume-door.ts';
import { readInto } from './volume-read.ts';

class VolumeFile implements SinkFile {
  readonly isNew: boolean;
  readonly #door: VolumeDoor;
  readonly #node: NodeReference;
  readonly #entry: SinkEntry;
  readonly #isBare: boolean;

  constructor(
    door: VolumeDoor,
    { node, attributes }: NodeAnswer,
    file: { isNew: boolean; entry: SinkEntry },
  ) {
    this.#door = door;
    this.#node = node;
    this.isNew = file.isNew;
    this.#isBare = file.isNew && isBare(attributes);
    this.#entry = file.entry;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    const { fileSystem } = this.#door;
    const file = { fileSystem, node: this.#node, context: () => this.#door.context() };
    return readInto(file, into, offset);
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    const options = { append: false, killPrivileges: false };
    for (let at = 0; at < bytes.length; at += LIMITS.chunkBytesMax) {
      const part = bytes.subarray(at, at + LIMITS.chunkBytesMax);
      const { fileSystem } = this.#door;
      await fileSystem.write(this.#node, offset + at, part, options, this.#door.context());
    }
  }

  async finish(): Promise<void> {
    try {
      const { size } = this.#entry;
      await this.#door.finish(this.#node, this.#entry, { size, isBare: this.#isBare });
    } finally {
      await this.abandon();
    }
  }

  async abandon(): Promise<void> {
    await this.#door.fileSystem.release(this.#node, { write: true });
  }
}

class VolumeDirectory implements SinkDirectory {
  readonly #door: VolumeDoor;
  readonly #node: NodeReference;
  readonly #root: NodeReference;
  readonly #kept: Attributes | undefined;
  readonly #attributesTo: NodeReference;
  readonly #isBare: boolean;

  constructor(
    door: VolumeDoor,
    node: NodeReference,
    of: {
      root: NodeReference;
      kept?: Attributes;
      attributesTo?: NodeReference;
      isBare?: boolean;
    },
  ) {
    this.#isBare = of.isBare ?? false;
    this.#attributesTo = of.attributesTo ?? node;
    this.#door = door;
    this.#node = node;
    this.#root = of.root;
    this.#kept = of.kept;
  }

  async directory(entry: SinkEntry): Promise<SinkDirectory> {
    let isNew = true;
    const make = (): Promise<NodeAnswer> => this.#make(entry, 0o700);
    const node = await make().catch(async (error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
      const found = await this.#door.look(this.#node, entry.name);
      if (found?.attributes.kind === 'directory') {
        isNew = false;
        return found;
      }
      await this.#clear(entry.name);
      return make();
    });
    return new VolumeDirectory(this.#door, node.node, {
      root: this.#root,
      isBare: isNew && isBare(node.attributes),
    });
  }

  async enter(
    name: string,
    { isLook = false }: EnterOptions = {},
  ): Promise<SinkDirectory | undefined> {
    const found = await this.#door.look(this.#node, name);
    if (found === undefined) return undefined;
    if (found.attributes.kind !== 'directory')
      throw new HoldfastError('ENOTDIR', `${name} is not a directory`);
    return new VolumeDirectory(this.#door, found.node, {
      root: this.#root,
      ...(isLook ? {} : { kept: found.attributes }),
    });
  }

  async file(
    entry: SinkEntry,
    { fresh = false, compare = false }: FileOptions = {},
  ): Promise<SinkFile | undefined> {
    const made = await this.#makeOrFind(entry);
    const { attributes, node } = made;
    if (!made.isNew && !fresh && attributes.kind === 'file') {
      const isAlike = attributes.size === entry.size && attributes.mtimeNs === entry.mtimeNs;
      if (isAlike && !compare) {
        await this.#door.finish(node, entry, { isBare: false });
        return undefined;
      }
      // A file with other names is never written in place: it would change under those names too.
      if (attributes.nlink === 1) return this.#open(made, { isNew: false, entry });
    }
    if (made.isNew) return this.#open(made, { isNew: true, entry });
    await this.#clear(entry.name);
    return this.#open(await this.#make(entry, 0o600), { isNew: true, entry });
  }

  async look(name: string): Promise<Present | undefined> {
    const found = await this.#door.look(this.#node, name);
    if (found === undefined) return undefined;
    const { kind, size, mtimeNs } = found.attributes;
    return { kind, size, mtimeNs };
  }

  async names(): Promise<readonly string[]> {
    const files = new StageFiles(this.#door.fileSystem, this.#node);
    const found = (await files.list(this.#node)).map(({ name }) => name);
    return found.filter((name) => !isStageName(name));
  }

  async remove(name: string): Promise<void> {
    const found = await this.#door.look(this.#node, name);
    if (found === undefined) return;
    const files = new StageFiles(this.#door.fileSystem, this.#node);
    if (found.attributes.kind === 'directory')
      await files.remove(this.#node, { ...found, name, cookie: 0 });
    else await this.#clear(name);
  }

  async special(entry: SinkEntry): Promise<void> {
    const mode = entry.kind === 'symlink' ? 0o777 : 0o600;
    const made = await this.#make(entry, mode).catch(async (error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
      await this.#clear(entry.name);
      return this.#make(entry, mode);
    });
    await this.#door.finish(made.node, entry, { isBare: isBare(made.attributes) });
  }

  async link(entry: { readonly name: string }, existing: readonly string[]): Promise<void> {
    this.#checkName(entry.name);
    let target: NodeAnswer | undefined;
    let parent = this.#root;
    for (const name of existing) {
      target = await this.#door.look(parent, name);
      if (target === undefined)
        throw new HoldfastError('NOT_FOUND', `no ${existing.join('/')} to link ${entry.name} to`);
      parent = target.node;
    }
    if (target === undefined) throw new HoldfastError('INTERNAL', 'a link needs a name to link to');
    const { fileSystem } = this.#door;
    const found = await this.#door.look(this.#node, entry.name);
    if (found?.node.ino === target.node.ino) return;
    if (found !== undefined) await this.#clear(entry.name);
    await fileSystem.link(target.node, this.#node, entry.name, this.#door.context());
  }

  async finish(entry?: SinkEntry): Promise<void> {
    if (entry !== undefined) {
      return this.#door.finish(this.#attributesTo, entry, { isBare: this.#isBare });
    }
    if (this.#kept === undefined) return;
    const { atimeNs: atime, mtimeNs: mtime } = this.#kept;
    await this.#door.fileSystem.setAttributes(this.#node, { atime, mtime }, this.#door.context());
  }

  /** CONFLICT for what could not be moved into the root of the volume when all of it is there. */
  #checkName(name: string): void {
    const isOfStage = this.#node === this.#root && this.#attributesTo !== this.#node;
    if (!isOfStage || !(name === SNAPSHOTS_NAME || isReservedName(name))) return;
    const meaning =
      name === SNAPSHOTS_NAME ? 'where a volume shows its snapshots' : 'of work under way';
    throw new HoldfastError(
      'CONFLICT',
      `'${name}' in the root of a volume is ${meaning}: leave it out of what is brought in (of a backup with --exclude /${name})`,
    );
  }

  async #make(entry: SinkEntry, mode: number): Promise<NodeAnswer> {
    const { kind, name, rdev, target, uid, gid } = entry;
    this.#checkName(name);
    if (rdev >= 2n ** 32n)
      throw new HoldfastError('EINVAL', `${name}: a device number has 32 bits`);
    const options = { kind, mode, rdev: Number(rdev), target, exclusive: true };
    const { fileSystem } = this.#door;
    return fileSystem.create(this.#node, name, options, this.#door.context(uid, gid));
  }

  async #makeOrFind(entry: SinkEntry): Promise<NodeAnswer & { isNew: boolean }> {
    try {
      return { ...(await this.#make(entry, 0o600)), isNew: true };
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    const found = await this.#door.look(this.#node, entry.name);
    if (found === undefined) throw new HoldfastError('ENOENT', `${entry.name} was removed`);
    return { ...found, isNew: false };
  }

  async #open(answer: NodeAnswer, file: { isNew: boolean; entry: SinkEntry }): Promise<VolumeFile> {
    const options = { write: true, truncate: false };
    await this.#door.fileSystem.open(answer.node, options, this.#door.context());
    return new VolumeFile(this.#door, answer, file);
  }

  /** Makes room for something else. A directory in the way is not removed. */
  async #clear(name: string): Promise<void> {
    try {
      await this.#door.fileSystem.unlink(this.#node, name, this.#door.context());
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      if (codeOf(error) !== 'EISDIR') throw error;
      throw new HoldfastError(
        'EEXIST',
        `a directory stands where ${name} belongs; remove it or write elsewhere`,
        { cause: error },
      );
    }
  }
}

/** What a {@link VolumeSink} may be told. */
export interface VolumeSinkOptions {
  /** Without it attributes that cannot be set pass silently. */
  readonly onAttributeProblem?: AttributeProblem;
  readonly signal?: AbortSignal;
  /** Takes the attributes that are meant for the root; the root itself by default. */
  readonly attributesOfRoot?: NodeReference;
}

/** A {@link TreeSink} over a directory of the namespace that exists. It writes as root and needs no mount. */
export class VolumeSink implements TreeSink {
  readonly #root: NodeReference;
  readonly #attributesTo: NodeReference;
  readonly #door: VolumeDoor;

  constructor(
    fileSystem: FileSystem,
    root: NodeReference,
    { onAttributeProblem = () => {}, signal, attributesOfRoot = root }: VolumeSinkOptions = {},
  ) {
    this.#root = root;
    this.#attributesTo = attributesOfRoot;
    this.#door = new VolumeDoor(fileSystem, { problem: onAttributeProblem, signal });
  }

  async root(): Promise<SinkDirectory> {
    const of = { root: this.#root, attributesTo: this.#attributesTo };
    return new VolumeDirectory(this.#door, this.#root, of);
  }
}
