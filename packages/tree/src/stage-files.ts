/** What is done with the hidden directories of a volume in which something is built. */
import {
  type FileSystem,
  HoldfastError,
  LIMITS,
  type ListedEntry,
  type NodeReference,
  type RequestContext,
} from '@holdfast/protocol';

/** Names that are removed or moved at a time. */
const STEPS_MAX = 16;
/** Of a complete stage: the root's time of access and of change, 8 bytes each, little-endian nanoseconds. */
const TIMES = 'trusted.holdfast.root-times';

function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : '';
}

/** Operations on directories of one volume, as root. `root`: where the stages lie. */
export class StageFiles {
  readonly fileSystem: FileSystem;
  readonly root: NodeReference;

  constructor(fileSystem: FileSystem, root: NodeReference) {
    this.fileSystem = fileSystem;
    this.root = root;
  }

  context(): RequestContext {
    return { uid: 0, gid: 0, pid: 0, requestId: 0 };
  }

  /** Entries of a directory, page by page. */
  async *entries(node: NodeReference): AsyncGenerator<ListedEntry> {
    for (let cookie = 0; ; ) {
      const count = LIMITS.directoryEntriesMax;
      const page = await this.fileSystem.readDirectory(node, cookie, count, this.context());
      yield* page.entries;
      const last = page.entries.at(-1);
      if (page.end || last === undefined) return;
      cookie = last.cookie;
    }
  }

  async list(node: NodeReference): Promise<ListedEntry[]> {
    const found: ListedEntry[] = [];
    for await (const entry of this.entries(node)) found.push(entry);
    return found;
  }

  /** Removes a directory of the root and all below it. */
  async remove(parent: NodeReference, { name, node }: ListedEntry): Promise<void> {
    const below = await this.list(node);
    await inParallel(below, (entry) =>
      entry.attributes.kind === 'directory'
        ? this.remove(node, entry)
        : this.fileSystem.unlink(node, entry.name, this.context()),
    );
    await this.fileSystem.removeDirectory(parent, name, this.context());
  }

  /** Notes the times of the root at a stage, for {@link moveUp}: whoever completes it gives them back. */
  async keepTimes(stage: NodeReference): Promise<void> {
    const { attributes } = await this.fileSystem.getAttributes(this.root, this.context());
    const times = Buffer.alloc(16);
    times.writeBigInt64LE(attributes.atimeNs, 0);
    times.writeBigInt64LE(attributes.mtimeNs, 8);
    await this.fileSystem.setXattr(stage, TIMES, times, { mode: 'set' }, this.context());
  }

  /** Moves all that a stage holds up into the root, and removes it. The root's times stay as they were kept. */
  async moveUp({
    name,
    node,
  }: {
    readonly name: string;
    readonly node: NodeReference;
  }): Promise<void> {
    await inParallel(await this.list(node), (entry) =>
      this.fileSystem.rename(
        { parent: node, name: entry.name },
        { parent: this.root, name: entry.name },
        'noreplace',
        this.context(),
      ),
    );
    const kept = Buffer.from(await this.fileSystem.getXattr(node, TIMES, this.context()));
    await this.fileSystem.removeDirectory(this.root, name, this.context());
    const times = { atime: kept.readBigInt64LE(0), mtime: kept.readBigInt64LE(8) };
    await this.fileSystem.setAttributes(this.root, times, this.context());
  }

  /** Marks a stage as somebody's, as long as the session lives. False when it is another's. */
  async lock(node: NodeReference): Promise<boolean> {
    const whole = { start: 0, end: Number.MAX_SAFE_INTEGER };
    const lock = { family: 'flock', type: 'write', ...whole, owner: '1', pid: 0 } as const;
    try {
      await this.fileSystem.setLock(node, lock, { wait: false }, this.context());
      return true;
    } catch (error) {
      if (codeOf(error) === 'EAGAIN') return false;
      throw error;
    }
  }
}

async function inParallel<T>(items: readonly T[], step: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += STEPS_MAX)
    await Promise.all(items.slice(at, at + STEPS_MAX).map(step));
}
