/** A copy into a directory of the namespace. */
import { randomBytes } from 'node:crypto';
import {
  type FileSystem,
  HoldfastError,
  type ListedEntry,
  type NodeReference,
} from '@holdfast/protocol';
import {
  type CopyPlace,
  type CopyTarget,
  checkTarget,
  noPlace,
  PLACE_ATTEMPTS_MAX,
} from './copy-place.ts';
import { StageFiles } from './stage-files.ts';
import { COPY_ID_BYTES, copyName, isCopyName } from './stage-names.ts';
import { VolumeSink, type VolumeSinkOptions } from './volume-sink.ts';

function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : '';
}

function isGone(error: unknown): boolean {
  return ['ENOENT', 'ESTALE'].includes(codeOf(error));
}

/** A {@link CopyPlace} in a volume. Whether its maker lives is told by a lock that ends with the session. */
export class VolumeCopyPlace implements CopyPlace {
  readonly sink: VolumeSink;
  readonly name: string;
  readonly #files: StageFiles;
  readonly #stage: ListedEntry;
  readonly #target: CopyTarget;

  private constructor(
    files: StageFiles,
    stage: ListedEntry,
    { target, ...options }: VolumeSinkOptions & { readonly target: CopyTarget },
  ) {
    this.#files = files;
    this.#stage = stage;
    this.#target = target;
    this.name = target.name;
    this.sink = new VolumeSink(files.fileSystem, stage.node, options);
  }

  /** Makes a place in a directory. EEXIST, EISDIR, ENOTDIR, before anything is made, for the target. */
  static async begin(
    fileSystem: FileSystem,
    directory: NodeReference,
    options: VolumeSinkOptions & { readonly target: CopyTarget },
  ): Promise<VolumeCopyPlace> {
    const files = new StageFiles(fileSystem, directory);
    checkTarget(options.target, await kindOf(files, options.target.name));
    await removeAbandoned(files);
    for (let attempt = 0; attempt < PLACE_ATTEMPTS_MAX; attempt++) {
      const stage = await tryToMake(files);
      if (stage !== undefined) return new VolumeCopyPlace(files, stage, options);
    }
    throw noPlace();
  }

  async publish(): Promise<void> {
    const { fileSystem, root } = this.#files;
    const { name } = this.#target;
    const isThere = checkTarget(this.#target, await kindOf(this.#files, name));
    await fileSystem.rename(
      { parent: this.#stage.node, name },
      { parent: root, name },
      isThere ? 'exchange' : 'noreplace',
      this.#files.context(),
    );
    // The order of operations is kept: with the rename, all that was written before it is durable.
    await fileSystem.sync(root, { dataOnly: false }, this.#files.context());
    // The copy is there. What it took the place of, the next one removes if this fails.
    await this.discard().catch(() => {});
  }

  async discard(): Promise<void> {
    await this.#files.remove(this.#files.root, this.#stage);
  }
}

/** Whether a name is that of a directory; `undefined` when nothing has it. */
async function kindOf(files: StageFiles, name: string): Promise<boolean | undefined> {
  try {
    const found = await files.fileSystem.lookup(files.root, name, files.context());
    return found.attributes.kind === 'directory';
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** `undefined` when somebody took it for abandoned before it was locked. */
async function tryToMake(files: StageFiles): Promise<ListedEntry | undefined> {
  const name = copyName(randomBytes(COPY_ID_BYTES).toString('hex'));
  const made = { kind: 'directory', mode: 0o700, rdev: 0, target: '', exclusive: true } as const;
  const answer = await files.fileSystem.create(files.root, name, made, files.context());
  try {
    if (!(await files.lock(answer.node))) return undefined;
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
  if ((await kindOf(files, name)) === undefined) return undefined;
  return { ...answer, name, cookie: 0 };
}

/** Removes what dead copies left in a directory, which may be a large one. */
async function removeAbandoned(files: StageFiles): Promise<void> {
  const found: ListedEntry[] = [];
  for await (const entry of files.entries(files.root))
    if (isCopyName(entry.name) && entry.attributes.kind === 'directory') found.push(entry);
  for (const entry of found) {
    try {
      if (await files.lock(entry.node)) await files.remove(files.root, entry);
    } catch (error) {
      if (!isGone(error)) throw error; // somebody else has removed it
    }
  }
}
