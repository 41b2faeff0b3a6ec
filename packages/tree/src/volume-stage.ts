/**
 * Fills an empty volume so that it is either as it was or complete: everything is built in a hidden
 * directory of its root and moved up at the end. Who dies while building leaves that directory, which
 * the next stage removes; who dies while moving leaves one that the next stage goes on moving.
 */
import {
  type FileSystem,
  HoldfastError,
  LIMITS,
  type ListedEntry,
  type NodeReference,
  type RequestContext,
} from '@holdfast/protocol';
import { isStageName, STAGE_PREFIX } from './stage-names.ts';
import { VolumeSink, type VolumeSinkOptions } from './volume-sink.ts';

/** Ends the name of a stage whose content is complete and is being moved up. */
const COMPLETE = '-complete';
/** Names that are removed or moved at a time. */
const STEPS_MAX = 16;

function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : '';
}

/** Operations on the directories of one volume, as root. */
class StageFiles {
  readonly fileSystem: FileSystem;
  readonly root: NodeReference;

  constructor(fileSystem: FileSystem, root: NodeReference) {
    this.fileSystem = fileSystem;
    this.root = root;
  }

  context(): RequestContext {
    return { uid: 0, gid: 0, pid: 0, requestId: 0 };
  }

  async list(node: NodeReference): Promise<ListedEntry[]> {
    const found: ListedEntry[] = [];
    for (let cookie = 0; ; ) {
      const count = LIMITS.directoryEntriesMax;
      const page = await this.fileSystem.readDirectory(node, cookie, count, this.context());
      found.push(...page.entries);
      const last = page.entries.at(-1);
      if (page.end || last === undefined) return found;
      cookie = last.cookie;
    }
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

  /** Moves all that a stage holds up into the root, and removes it. */
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
    await this.fileSystem.removeDirectory(this.root, name, this.context());
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

/** A place to build the content of a volume in. */
export class VolumeStage {
  /** Writes into the stage; attributes of the root go to the volume's root itself. */
  readonly sink: VolumeSink;
  readonly #files: StageFiles;
  readonly #stage: ListedEntry;

  private constructor(files: StageFiles, stage: ListedEntry, sink: VolumeSink) {
    this.#files = files;
    this.#stage = stage;
    this.sink = sink;
  }

  /**
   * Begins to fill the volume with this root. `id`: letters and digits, another one each time.
   * What a dead stage left is removed, or completed where it was complete. CONFLICT when the volume
   * is not empty, or another stage is being filled.
   */
  static async begin(
    fileSystem: FileSystem,
    root: NodeReference,
    { id, ...options }: VolumeSinkOptions & { id: string },
  ): Promise<VolumeStage> {
    const files = new StageFiles(fileSystem, root);
    await recover(files);
    const name = `${STAGE_PREFIX}${id}`;
    const made = { kind: 'directory', mode: 0o700, rdev: 0, target: '', exclusive: true } as const;
    const answer = await fileSystem.create(root, name, made, files.context());
    const stage = { ...answer, name, cookie: 0 };
    if (!(await files.lock(stage.node))) throw beingFilled();
    const sinkOptions = { ...options, attributesOfRoot: root };
    const sink = new VolumeSink(fileSystem, stage.node, sinkOptions);
    const begun = new VolumeStage(files, stage, sink);
    try {
      await begun.#checkAlone();
    } catch (error) {
      await begun.discard();
      throw error;
    }
    return begun;
  }

  /** Moves everything up: the volume is complete when this resolves. */
  async publish(): Promise<void> {
    await this.#checkAlone();
    const { fileSystem, root } = this.#files;
    const before = (await fileSystem.getAttributes(root, this.#files.context())).attributes;
    const name = `${this.#stage.name}${COMPLETE}`;
    await fileSystem.rename(
      { parent: root, name: this.#stage.name },
      { parent: root, name },
      'noreplace',
      this.#files.context(),
    );
    await this.#files.moveUp({ name, node: this.#stage.node });
    const times = { atime: before.atimeNs, mtime: before.mtimeNs };
    await fileSystem.setAttributes(root, times, this.#files.context());
  }

  /** Removes what was built so far. */
  async discard(): Promise<void> {
    await this.#files.remove(this.#files.root, this.#stage);
  }

  async #checkAlone(): Promise<void> {
    const others = (await this.#files.list(this.#files.root)).filter(
      ({ name }) => name !== this.#stage.name,
    );
    if (others.length === 0) return;
    if (others.some(({ name }) => isStageName(name))) throw beingFilled();
    throw new HoldfastError(
      'CONFLICT',
      'the volume is not empty: fill a new one, or empty it first',
    );
  }
}

function beingFilled(): HoldfastError {
  return new HoldfastError(
    'CONFLICT',
    'the volume is being filled by somebody else; one who died is noticed after 10 seconds',
  );
}

/** Removes or completes what dead stages left. */
async function recover(files: StageFiles): Promise<void> {
  for (const entry of await files.list(files.root)) {
    if (!isStageName(entry.name)) continue;
    if (!(await files.lock(entry.node))) throw beingFilled();
    if (entry.name.endsWith(COMPLETE)) await files.moveUp(entry);
    else await files.remove(files.root, entry);
  }
}
