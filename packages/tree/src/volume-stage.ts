/**
 * Fills an empty volume so that it is either as it was or complete: everything is built in a hidden
 * directory of its root and moved up at the end. Who dies while building leaves that directory, which
 * the next stage removes; who dies while moving leaves one that the next stage goes on moving.
 */
import {
  type FileSystem,
  HoldfastError,
  type ListedEntry,
  type NodeReference,
  STAGE_PREFIX,
} from '@holdfast/protocol';
import { StageFiles } from './stage-files.ts';
import { isStageName } from './stage-names.ts';
import { VolumeSink, type VolumeSinkOptions } from './volume-sink.ts';

/** Ends the name of a stage whose content is complete and is being moved up. */
const COMPLETE = '-complete';

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
    // Before anything is made: what is refused leaves no trace, not even in the root's times.
    refuseContent(await files.list(root));
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

  /**
   * Goes on with the stage of this `id` where it is, or begins it. `undefined` when its content was
   * complete: then it is in its place by now. CONFLICT when the volume has other content, or somebody
   * who lives fills it.
   */
  static async resume(
    fileSystem: FileSystem,
    root: NodeReference,
    { id, ...options }: VolumeSinkOptions & { id: string },
  ): Promise<VolumeStage | undefined> {
    const files = new StageFiles(fileSystem, root);
    const name = `${STAGE_PREFIX}${id}`;
    const there = await files.list(root);
    if (there.some((entry) => entry.name === `${name}${COMPLETE}`)) {
      await recover(files);
      return undefined;
    }
    const stage = there.find((entry) => entry.name === name);
    if (stage === undefined) return VolumeStage.begin(fileSystem, root, { id, ...options });
    if (!(await files.lock(stage.node))) throw beingFilled();
    await recover(files, name);
    const sink = new VolumeSink(fileSystem, stage.node, { ...options, attributesOfRoot: root });
    const resumed = new VolumeStage(files, stage, sink);
    await resumed.#checkAlone();
    return resumed;
  }

  /** Whether a stage of this `id` was begun and is not in its place yet. */
  static async isThere(fileSystem: FileSystem, root: NodeReference, id: string): Promise<boolean> {
    const name = `${STAGE_PREFIX}${id}`;
    const there = await new StageFiles(fileSystem, root).list(root);
    return there.some((entry) => entry.name === name || entry.name === `${name}${COMPLETE}`);
  }

  /** Moves everything up: the volume is complete when this resolves. */
  async publish(): Promise<void> {
    await this.#checkAlone();
    const { fileSystem, root } = this.#files;
    await this.#files.keepTimes(this.#stage.node);
    const name = `${this.#stage.name}${COMPLETE}`;
    await fileSystem.rename(
      { parent: root, name: this.#stage.name },
      { parent: root, name },
      'noreplace',
      this.#files.context(),
    );
    await this.#files.moveUp({ name, node: this.#stage.node });
  }

  /** The directory that is filled. */
  get node(): NodeReference {
    return this.#stage.node;
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
    refuseContent(others);
  }
}

function refuseContent(entries: readonly ListedEntry[]): void {
  if (entries.every(({ name }) => isStageName(name))) return;
  throw new HoldfastError('CONFLICT', 'the volume is not empty: fill a new one, or empty it first');
}

function beingFilled(): HoldfastError {
  return new HoldfastError(
    'CONFLICT',
    'the volume is being filled by somebody else; one who died is noticed after 10 seconds',
    { detail: { isBeingFilled: true } },
  );
}

/** Whether a stage was refused since somebody, who may be dead, holds one: it is worth to ask again. */
export function isBeingFilled(error: unknown): boolean {
  return error instanceof HoldfastError && error.detail?.['isBeingFilled'] === true;
}

/** Removes or completes what dead stages left, but for the one of this name. */
async function recover(files: StageFiles, own?: string): Promise<void> {
  for (const entry of await files.list(files.root)) {
    if (!isStageName(entry.name) || entry.name === own) continue;
    if (!(await files.lock(entry.node))) throw beingFilled();
    if (entry.name.endsWith(COMPLETE)) await files.moveUp(entry);
    else await files.remove(files.root, entry);
  }
}
