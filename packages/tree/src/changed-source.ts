/** A tree of which it is known what has changed since an earlier state of it. */
import type { ByteRange, Xattr } from './entry.ts';
import type { SourceEntry, SourceFile, TreeSource } from './source.ts';

/** What is known of the change. Entries are told by their inode's number. */
export interface TreeChange {
  /** Whether the entry and, of a directory, all below it are as they were, in everything. */
  isSame(entry: SourceEntry): boolean;
  /** Whether a file's bytes are as they were. */
  isSameContent(entry: SourceEntry): boolean;
  /** Ranges of a file that may have changed, ascending; `undefined`: not known. */
  changedRanges(entry: SourceEntry): Promise<readonly ByteRange[] | undefined>;
}

/** A {@link TreeSource} that says of each entry what has not changed. */
export class ChangedSource implements TreeSource {
  readonly #source: TreeSource;
  readonly #change: TreeChange;

  constructor(source: TreeSource, change: TreeChange) {
    this.#source = source;
    this.#change = change;
  }

  async root(): Promise<SourceEntry> {
    return this.#marked(await this.#source.root());
  }

  async *list(path: string, entry: SourceEntry): AsyncIterable<SourceEntry> {
    for await (const child of this.#source.list(path, entry)) yield this.#marked(child);
  }

  async xattrs(path: string, entry: SourceEntry): Promise<readonly Xattr[]> {
    return this.#source.xattrs(path, entry);
  }

  async open(path: string, entry: SourceEntry): Promise<SourceFile> {
    const file = await this.#source.open(path, entry);
    return {
      size: file.size,
      read: (into, offset) => file.read(into, offset),
      dataRanges: (within) => file.dataRanges(within),
      changedRanges: () => this.#change.changedRanges(entry),
      close: () => file.close(),
    };
  }

  #marked(entry: SourceEntry): SourceEntry {
    if (this.#change.isSame(entry)) return { ...entry, unchanged: 'all' };
    const isContent = entry.kind === 'file' && this.#change.isSameContent(entry);
    return isContent ? { ...entry, unchanged: 'content' } : entry;
  }
}
