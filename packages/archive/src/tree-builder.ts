/** Builds a tree in a sink from entries in any order, as archives hold them. */
import { HoldfastError } from '@holdfast/protocol';
import type { SinkDirectory, SinkEntry, SinkFile } from '@holdfast/tree';
import type { ArchivedEntry, Piece } from './entry.ts';
import { ARCHIVE_LIMITS } from './limits.ts';
import { safeNames, shown } from './safe-path.ts';
import { Steps } from './steps.ts';

/** A directory that is being filled: those on the way to the present entry. */
interface Frame {
  readonly name: string;
  readonly path: string;
  readonly directory: SinkDirectory;
  /** What its attributes are to be; absent for one that was complete before. */
  entry: SinkEntry | undefined;
  /** Keys of the steps below it. */
  readonly steps: Set<Promise<void>>;
}

/** How entries are built. */
export interface TreeBuilderOptions {
  /** Makes holes of long runs of zeros, for formats that have none. */
  readonly makeHoles: boolean;
  /** Told of each piece before it is written. */
  readonly onBytes: (count: number) => void;
}

/** Gathers pieces into writes of whole chunks. */
class Gathering {
  readonly #file: SinkFile;
  readonly #makeHoles: boolean;
  #parts: Uint8Array[] = [];
  #offset = 0;
  #length = 0;

  constructor(file: SinkFile, makeHoles: boolean) {
    this.#file = file;
    this.#makeHoles = makeHoles;
  }

  async add({ offset, bytes }: Piece): Promise<void> {
    if (offset !== this.#offset + this.#length) await this.flush();
    if (this.#length === 0) this.#offset = offset;
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + ARCHIVE_LIMITS.writeBytes - this.#length);
      this.#parts.push(part);
      this.#length += part.length;
      at += part.length;
      if (this.#length === ARCHIVE_LIMITS.writeBytes) await this.flush();
    }
  }

  async flush(): Promise<void> {
    const bytes = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    const offset = this.#offset;
    this.#parts = [];
    this.#offset += this.#length;
    this.#length = 0;
    if (bytes.length === 0) return;
    if (!this.#makeHoles) return this.#file.write(bytes, offset);
    for (const { from, to } of withoutZeros(bytes))
      await this.#file.write(bytes.subarray(from, to), offset + from);
  }
}

const ZEROS = Buffer.alloc(ARCHIVE_LIMITS.zeroBytes);

/** Parts of a buffer between whole portions of zeros. */
function withoutZeros(bytes: Uint8Array): { from: number; to: number }[] {
  const parts: { from: number; to: number }[] = [];
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const portion = bytes.subarray(at, at + ZEROS.length);
    if (portion.length === ZEROS.length && Buffer.compare(portion, ZEROS) === 0) continue;
    const last = parts.at(-1);
    if (last?.to === at) last.to = at + portion.length;
    else parts.push({ from: at, to: at + portion.length });
  }
  return parts;
}

/**
 * Takes one entry after the other; {@link finish} completes the tree. After a failure {@link abandon}
 * must be awaited: nothing writes to the sink any more when it resolves.
 */
export class TreeBuilder {
  readonly #options: TreeBuilderOptions;
  readonly #steps = new Steps(ARCHIVE_LIMITS.stepsMax);
  readonly #frames: Frame[];

  constructor(root: SinkDirectory, options: TreeBuilderOptions) {
    this.#options = options;
    this.#frames = [{ name: '', path: '', directory: root, entry: undefined, steps: new Set() }];
  }

  /** Adds an entry. CORRUPT for one that leads out of the tree or through what is no directory. */
  async add(entry: ArchivedEntry): Promise<void> {
    const names = safeNames(entry.path);
    const name = names.at(-1);
    if (name === undefined) {
      if (entry.kind !== 'directory' || entry.linkTo !== undefined)
        throw new HoldfastError('CORRUPT', 'refused: the root of the archive is no directory');
      this.#frames[0]!.entry = entry;
      return;
    }
    await this.#enter(names.slice(0, -1), entry);
    const frame = this.#frames.at(-1)!;
    const path = names.join('/');
    const made: SinkEntry = { ...entry, name };
    await this.#steps.settled(path);
    await this.#explaining(entry, () => this.#make(frame, path, { made, entry }));
  }

  /** Completes every directory, the root last; its attributes are what the archive said of it, if it did. */
  async finish(): Promise<void> {
    while (this.#frames.length > 1) await this.#leave();
    await this.#steps.idle();
    this.#steps.check();
    const root = this.#frames[0]!;
    await root.directory.finish(root.entry);
  }

  /** Gives up what is open after a failure. */
  async abandon(): Promise<void> {
    await this.#steps.idle();
    for (const { directory } of this.#frames.toReversed()) await directory.finish().catch(() => {});
  }

  async #make(
    frame: Frame,
    path: string,
    { made, entry }: { made: SinkEntry; entry: ArchivedEntry },
  ): Promise<void> {
    if (entry.linkTo !== undefined) return this.#link(frame, made, entry.linkTo);
    if (entry.kind === 'directory') return this.#directory(frame, path, made);
    if (entry.kind !== 'file') {
      return this.#begin(frame, path, () =>
        this.#explaining(entry, () => frame.directory.special(made)),
      );
    }
    if (entry.pieces === undefined)
      throw new HoldfastError('INTERNAL', 'a file of an archive has content');
    if (entry.size > ARCHIVE_LIMITS.smallFileBytes)
      return this.#write(frame.directory, made, entry.pieces());
    const pieces: Piece[] = [];
    for await (const piece of entry.pieces()) pieces.push(piece);
    await this.#begin(frame, path, () =>
      this.#explaining(entry, () => this.#write(frame.directory, made, pieces)),
    );
  }

  async #explaining(entry: ArchivedEntry, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      throw explained(error, entry);
    }
  }

  /** Opens a directory of the archive; it stays open until an entry outside of it comes. */
  async #directory(frame: Frame, path: string, made: SinkEntry): Promise<void> {
    const directory = await frame.directory.directory(made);
    this.#frames.push({ name: made.name, path, directory, entry: made, steps: new Set() });
  }

  async #link(frame: Frame, made: SinkEntry, linkTo: string): Promise<void> {
    const names = safeNames(linkTo);
    if (names.length === 0)
      throw new HoldfastError('CORRUPT', `refused: ${shown(made.name)} is a hard link to the root`);
    for (const index of names.keys())
      await this.#steps.settled(names.slice(0, index + 1).join('/'));
    await frame.directory.link(made, names);
  }

  /** Leaves directories that the next entry is not in, and enters or makes those that it is in. */
  async #enter(names: readonly string[], entry: ArchivedEntry): Promise<void> {
    const isOnWay = (frame: Frame, index: number): boolean =>
      index === 0 || frame.name === names[index - 1];
    while (this.#frames.length > 1) {
      const index = this.#frames.length - 1;
      if (index <= names.length && this.#frames.every(isOnWay)) break;
      await this.#leave();
    }
    for (const name of names.slice(this.#frames.length - 1)) {
      const above = this.#frames.at(-1)!;
      const path = above.path === '' ? name : `${above.path}/${name}`;
      await this.#steps.settled(path);
      const found = await above.directory.enter(name).catch((error: unknown) => {
        throw explained(error, entry);
      });
      const implied = impliedDirectory(name, entry);
      const directory = found ?? (await above.directory.directory(implied));
      const attributes = found === undefined ? implied : undefined;
      this.#frames.push({ name, path, directory, entry: attributes, steps: new Set() });
    }
  }

  /** Completes the innermost directory once what is in it is complete, without waiting for that. */
  async #leave(): Promise<void> {
    const frame = this.#frames.pop()!;
    const above = this.#frames.at(-1)!;
    await this.#begin(above, frame.path, async () => {
      await Promise.all(frame.steps);
      await frame.directory.finish(frame.entry);
    });
  }

  async #begin(frame: Frame, path: string, step: () => Promise<void>): Promise<void> {
    await this.#steps.begin(path, step);
    const underWay = this.#steps.underWay(path);
    if (underWay === undefined) return;
    frame.steps.add(underWay);
    void underWay.then(() => frame.steps.delete(underWay));
  }

  async #write(
    directory: SinkDirectory,
    made: SinkEntry,
    pieces: AsyncIterable<Piece> | Iterable<Piece>,
  ): Promise<void> {
    const file = await directory.file(made, { fresh: true });
    if (file === undefined) throw new HoldfastError('INTERNAL', 'a fresh file is never complete');
    try {
      const gathering = new Gathering(file, this.#options.makeHoles);
      for await (const piece of pieces) {
        this.#options.onBytes(piece.bytes.length);
        await gathering.add(piece);
      }
      await gathering.flush();
    } catch (error) {
      await file.abandon();
      throw error;
    }
    await file.finish();
  }
}

/** A directory that the archive does not list but has entries in. */
function impliedDirectory(name: string, { mtimeNs }: ArchivedEntry): SinkEntry {
  return {
    name,
    kind: 'directory',
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtimeNs,
    atimeNs: mtimeNs,
    size: 0,
    rdev: 0n,
    target: '',
    xattrs: [],
  };
}

/** Refusals of the sink that only a wrong archive brings about, in words about the archive. */
function explained(error: unknown, { path, linkTo }: ArchivedEntry): unknown {
  if (!(error instanceof HoldfastError)) return error;
  const why: Partial<Record<string, string>> = {
    ENOTDIR: 'goes through a symbolic link or a file that the archive holds',
    EEXIST: 'would replace a directory of the archive',
  };
  if (linkTo !== undefined) {
    why['NOT_FOUND'] = 'is a hard link to something that does not come before it';
    why['EPERM'] = 'is a hard link to a directory';
    why['FORBIDDEN'] = 'is a hard link to a directory';
  }
  const text = why[error.code];
  if (text === undefined) return error;
  return new HoldfastError('CORRUPT', `refused: the entry ${shown(path)} ${text}`, {
    cause: error,
  });
}
