/** A tree in the one order that archives have: directories before what is in them, by the bytes of names. */
import { HoldfastError } from '@holdfast/protocol';
import type { SourceEntry, SourceFile, TreeSource, Xattr } from '@holdfast/tree';
import type { ArchiveWarning } from './entry.ts';
import { ARCHIVE_LIMITS } from './limits.ts';

/** An entry of a walk. */
export interface Walked {
  /** Names from the root, joined by '/'; '' is the root. */
  readonly path: string;
  readonly entry: SourceEntry;
  readonly xattrs: readonly Xattr[];
  /** Path of the same file earlier in the walk. */
  readonly sameAs?: string;
  /** Of a regular file; closed by the walk when the next entry is asked for. */
  readonly file?: SourceFile;
}

/** What a writer of archives tells while it goes on. */
export interface WriterReport {
  readonly onWarning: ArchiveWarning;
  /** An entry is complete. */
  readonly onEntry: (walked: Walked) => void;
}

/** A file whose first bytes are there already. */
class StartedFile implements SourceFile {
  readonly size: number;
  readonly #file: SourceFile;
  readonly #first: Uint8Array;
  readonly #ranges: Awaited<ReturnType<SourceFile['dataRanges']>>;

  private constructor(
    file: SourceFile,
    ranges: Awaited<ReturnType<SourceFile['dataRanges']>>,
    first: Uint8Array,
  ) {
    this.size = file.size;
    this.#file = file;
    this.#ranges = ranges;
    this.#first = first;
  }

  static async of(file: SourceFile): Promise<StartedFile> {
    const ranges = await file.dataRanges();
    const isSmall = ranges === undefined && file.size <= ARCHIVE_LIMITS.aheadBytes;
    const first = Buffer.alloc(isSmall ? file.size : 0);
    const count = first.length === 0 ? 0 : await file.read(first, 0);
    return new StartedFile(file, ranges, first.subarray(0, count));
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    if (offset >= this.#first.length) return this.#file.read(into, offset);
    const there = this.#first.subarray(offset, offset + into.length);
    into.set(there);
    if (there.length === into.length) return there.length;
    const rest = into.subarray(there.length);
    return there.length + (await this.#file.read(rest, offset + there.length));
  }

  dataRanges(): ReturnType<SourceFile['dataRanges']> {
    return Promise.resolve(this.#ranges);
  }

  changedRanges(): ReturnType<SourceFile['changedRanges']> {
    return this.#file.changedRanges();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Paths of files with several names; each forgotten with its last name. */
class FirstNames {
  readonly #first = new Map<string, { readonly path: string; left: number }>();
  readonly #lost = new Set<string>();

  /** The path under which a file was seen before; remembers this one when there is none. */
  of(entry: SourceEntry, path: string): string | undefined {
    if (entry.kind === 'directory' || entry.links < 2) return undefined;
    const identity = `${entry.deviceId}:${entry.inode}`;
    const known = this.#first.get(identity);
    if (known === undefined) {
      this.#first.set(identity, { path, left: entry.links - 1 });
      return undefined;
    }
    known.left -= 1;
    if (known.left <= 0) this.#first.delete(identity);
    return known.path;
  }

  /** A name was gone when its turn came: another one must be the first. */
  lose(entry: SourceEntry, path: string): void {
    if (entry.links < 2) return;
    this.#first.delete(`${entry.deviceId}:${entry.inode}`);
    this.#lost.add(path);
  }

  isLost(path: string): boolean {
    return this.#lost.has(path);
  }
}

/** How a tree is walked. */
export interface WalkOptions {
  readonly warn: ArchiveWarning;
  /** Whether further names of a file say so; else each has the content. */
  readonly hardLinks: boolean;
}

class Walk {
  readonly #source: TreeSource;
  readonly #warn: ArchiveWarning;
  readonly #names = new FirstNames();
  readonly #hardLinks: boolean;

  constructor(source: TreeSource, { warn, hardLinks }: WalkOptions) {
    this.#source = source;
    this.#warn = warn;
    this.#hardLinks = hardLinks;
  }

  /**
   * Everything below a directory. The directories on the way are a list: generators that delegate to
   * each other would take as much of the stack at every entry as the tree is deep.
   */
  async *below(path: string, entry: SourceEntry): AsyncGenerator<Walked> {
    const way = [this.#entries(path, entry)];
    try {
      for (let last = way.at(-1); last !== undefined; last = way.at(-1)) {
        const { done, value } = await last.next();
        if (done === true) {
          way.pop();
          continue;
        }
        yield value;
        if (value.entry.kind === 'directory') way.push(this.#entries(value.path, value.entry));
      }
    } finally {
      for (const open of way.reverse()) await open.return(undefined);
    }
  }

  /** What is in one directory. */
  async *#entries(path: string, entry: SourceEntry): AsyncGenerator<Walked, undefined> {
    const children: SourceEntry[] = [];
    try {
      for await (const child of this.#source.list(path, entry)) children.push(child);
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#warn(path, 'was removed meanwhile');
      return;
    }
    children.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    yield* this.#prepared(path, children);
  }

  /**
   * Entries with what they need, prepared ahead of their turn. Never past a directory: a name below
   * it comes before those behind it, and may be the first of a file with several.
   */
  async *#prepared(
    path: string,
    children: readonly SourceEntry[],
  ): AsyncGenerator<Walked, undefined> {
    const ahead: Promise<Walked | undefined>[] = [];
    let next = 0;
    let isBlocked = false;
    try {
      while (next < children.length || ahead.length > 0) {
        while (!isBlocked && next < children.length && ahead.length < ARCHIVE_LIMITS.aheadEntries) {
          const child = children[next]!;
          next += 1;
          isBlocked = child.kind === 'directory';
          const preparing = this.#prepare(
            path === '' ? child.name : `${path}/${child.name}`,
            child,
          );
          preparing.catch(() => {});
          ahead.push(preparing);
        }
        let walked = await ahead.shift();
        if (ahead.length === 0) isBlocked = false;
        if (walked?.sameAs !== undefined && this.#names.isLost(walked.sameAs))
          walked = await this.#prepare(walked.path, walked.entry);
        if (walked !== undefined) yield* once(walked);
      }
    } finally {
      for (const rest of await Promise.allSettled(ahead))
        if (rest.status === 'fulfilled') await rest.value?.file?.close();
    }
  }

  /** `undefined` for what was removed since its directory was listed. */
  async #prepare(path: string, entry: SourceEntry): Promise<Walked | undefined> {
    const sameAs = this.#hardLinks ? this.#names.of(entry, path) : undefined;
    if (sameAs !== undefined) return { path, entry, xattrs: [], sameAs };
    try {
      const xattrs = await this.#source.xattrs(path, entry);
      if (entry.kind !== 'file') return { path, entry, xattrs };
      const file = await this.#source.open(path, entry);
      try {
        return { path, entry, xattrs, file: await StartedFile.of(file) };
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#names.lose(entry, path);
      this.#warn(path, 'was removed meanwhile');
      return undefined;
    }
  }
}

async function* once(walked: Walked): AsyncGenerator<Walked> {
  try {
    yield walked;
  } finally {
    await walked.file?.close();
  }
}

function isGone(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'NOT_FOUND';
}

/** Walks a tree, its root first. Memory: the entries of the directories on the way. */
export async function* walk(source: TreeSource, options: WalkOptions): AsyncGenerator<Walked> {
  const root = await source.root();
  yield { path: '', entry: root, xattrs: await source.xattrs('', root) };
  yield* new Walk(source, options).below('', root);
}

/** Bytes of a range of a file; what has vanished from its end since reads as zeros, and is told. */
export async function* contentOf(
  file: SourceFile,
  range: { readonly offset: number; readonly length: number },
  onShort: () => void,
): AsyncGenerator<Buffer> {
  const end = range.offset + range.length;
  for (let at = range.offset; at < end; ) {
    const bytes = Buffer.alloc(Math.min(ARCHIVE_LIMITS.readBytes, end - at));
    const count = await file.read(bytes, at);
    if (count < bytes.length) onShort();
    yield bytes;
    at += bytes.length;
  }
}
