/** A file, or a directory with all below it, carried from a source into a directory of a sink. */
import { HoldfastError } from '@holdfast/protocol';
import type { SinkDirectory, SinkEntry, TreeSink } from './sink.ts';
import type { SourceEntry, TreeSource } from './source.ts';

/** Entries that are carried at the same time. */
const ENTRIES_MAX = 8;
/** Bytes of a file that are read and written at a time. */
const PIECE_BYTES = 1024 * 1024;

/** Counts while a copy is made and when it is done. */
export interface CopyCounts {
  files: number;
  directories: number;
  /** Links, devices, fifos, sockets and further names of files. */
  others: number;
  /** Bytes of files written; holes not counted. */
  bytes: number;
}

/** What is copied, and under which name. */
export interface CopyRequest {
  readonly source: TreeSource;
  /** Names from the source's root, joined by '/'; '' for the root. */
  readonly path: string;
  /** What the source gave for the path. */
  readonly entry: SourceEntry;
  /** The name that it gets. */
  readonly name: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (counts: CopyCounts) => void;
}

/** An entry on its way. */
interface Carried {
  readonly path: string;
  readonly entry: SourceEntry;
  /** Where it goes to: names from the sink's root. */
  readonly names: readonly string[];
}

interface FirstName {
  readonly names: readonly string[];
  readonly done: Promise<void>;
  /** Names that are still to come. */
  left: number;
}

class Copy {
  readonly counts: CopyCounts = { files: 0, directories: 0, others: 0, bytes: 0 };
  readonly #request: CopyRequest;
  readonly #first = new Map<string, FirstName>();

  constructor(request: CopyRequest) {
    this.#request = request;
  }

  /** Carries one entry whole. Files with several names are noted before anything is awaited. */
  carry(into: SinkDirectory, carried: Carried): Promise<void> {
    const { entry, names } = carried;
    if (entry.kind === 'directory' || entry.links < 2) return this.#make(into, carried);
    const identity = `${entry.deviceId}:${entry.inode}`;
    const first = this.#first.get(identity);
    if (first === undefined) {
      const done = this.#make(into, carried);
      this.#first.set(identity, { names, done, left: entry.links - 1 });
      return done;
    }
    first.left -= 1;
    if (first.left <= 0) this.#first.delete(identity);
    return this.#link(into, carried, first);
  }

  async #link(into: SinkDirectory, { entry, names }: Carried, first: FirstName): Promise<void> {
    await first.done;
    await into.link({ name: names.at(-1) ?? entry.name }, first.names);
    this.#count('others');
  }

  async #make(into: SinkDirectory, carried: Carried): Promise<void> {
    const { path, entry, names } = carried;
    const xattrs = await this.#request.source.xattrs(path, entry);
    const made = { ...entry, name: names.at(-1) ?? entry.name, xattrs };
    if (entry.kind === 'directory') return this.#directory(into, carried, made);
    if (entry.kind === 'file') return this.#file(into, carried, made);
    await into.special(made);
    this.#count('others');
  }

  async #directory(into: SinkDirectory, carried: Carried, made: SinkEntry): Promise<void> {
    const directory = await into.directory(made);
    let isComplete = false;
    try {
      await this.#children(directory, carried);
      isComplete = true;
    } finally {
      await directory.finish(isComplete ? made : undefined);
    }
    this.#count('directories');
  }

  /** Directories one after the other, what lies in one at the same time: both are bounded. */
  async #children(directory: SinkDirectory, { path, entry, names }: Carried): Promise<void> {
    const running = new Set<Promise<void>>();
    try {
      for await (const child of this.#request.source.list(path, entry)) {
        this.#request.signal?.throwIfAborted();
        const isDirectory = child.kind === 'directory';
        while (running.size >= (isDirectory ? 1 : ENTRIES_MAX)) await Promise.race(running);
        const below = path === '' ? child.name : `${path}/${child.name}`;
        const step = this.carry(directory, {
          path: below,
          entry: child,
          names: [...names, child.name],
        });
        running.add(step);
        // One that fails stays, so that who waits for any of them hears of it.
        step.then(
          () => running.delete(step),
          () => {},
        );
        if (isDirectory) await step;
      }
      await Promise.all(running);
    } finally {
      await Promise.allSettled(running);
    }
  }

  async #file(into: SinkDirectory, carried: Carried, made: SinkEntry): Promise<void> {
    const { path, entry } = carried;
    const from = await this.#request.source.open(path, entry);
    try {
      const size = from.size;
      const to = await into.file({ ...made, size }, { fresh: true });
      if (to === undefined)
        throw new HoldfastError('INTERNAL', 'a file that is made afresh is not complete');
      try {
        const all = [{ offset: 0, length: size }];
        for (const { offset, length } of (await from.dataRanges()) ?? all)
          await this.#range(carried, { from, to, offset, end: offset + length });
      } catch (error) {
        await to.abandon();
        throw error;
      }
      await to.finish();
    } finally {
      await from.close();
    }
    this.#count('files');
  }

  async #range(
    { path }: Carried,
    {
      from,
      to,
      offset,
      end,
    }: {
      readonly from: Awaited<ReturnType<TreeSource['open']>>;
      readonly to: NonNullable<Awaited<ReturnType<SinkDirectory['file']>>>;
      readonly offset: number;
      readonly end: number;
    },
  ): Promise<void> {
    for (let at = offset; at < end; ) {
      this.#request.signal?.throwIfAborted();
      const bytes = Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - at));
      const count = await from.read(bytes, at);
      if (count < bytes.length)
        throw new HoldfastError('CONFLICT', `${path} was cut off while it was read`);
      await to.write(bytes, at);
      at += count;
      this.counts.bytes += count;
      this.#request.onProgress?.(this.counts);
    }
  }

  #count(what: 'files' | 'directories' | 'others'): void {
    this.counts[what] += 1;
    this.#request.onProgress?.(this.counts);
  }
}

/**
 * Copies into the root of a sink: attributes, hard links among what is copied, and holes are kept.
 * What fails ends it; what was made by then stays, for the caller to remove. Memory: 1 MiB for each
 * of 8 files, and a name for each file that has others.
 */
export async function copyEntry(sink: TreeSink, request: CopyRequest): Promise<CopyCounts> {
  const copy = new Copy(request);
  const { path, entry, name } = request;
  const into = await sink.root();
  try {
    await copy.carry(into, { path, entry, names: [name] });
  } finally {
    await into.finish();
  }
  return copy.counts;
}
