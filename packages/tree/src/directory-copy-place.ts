/**
 * A copy into a directory of this host. Steps go through descriptors, as those of a DirectorySink do;
 * the place can be entered by its owner only until the copy is complete.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  rename,
  rmdir,
  unlink,
} from 'node:fs/promises';
import { HoldfastError } from '@holdfast/protocol';
import {
  type CopyPlace,
  type CopyTarget,
  checkTarget,
  noPlace,
  PLACE_ATTEMPTS_MAX,
} from './copy-place.ts';
import { DirectorySink } from './directory-sink.ts';
import { bytesOf } from './open-directory.ts';
import type { AttributeProblem } from './sink.ts';
import { COPY_ID_BYTES, copyName, isCopyName } from './stage-names.ts';
import { lockAlone, renameWith, syncFileSystem } from './system-calls.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const [EEXIST, EINVAL, ENOSYS] = [17, 22, 38];

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function at(directory: FileHandle, name: string): string {
  return `/proc/self/fd/${directory.fd}/${name}`;
}

/** Whether a name is that of a directory; `undefined` when nothing has it. */
async function kindOf(directory: FileHandle, name: string): Promise<boolean | undefined> {
  try {
    return (await lstat(bytesOf(at(directory, name)))).isDirectory();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function openDirectory(directory: FileHandle, name: string): Promise<FileHandle> {
  return open(bytesOf(at(directory, name)), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

async function openIfThere(directory: FileHandle, name: string): Promise<FileHandle | undefined> {
  try {
    return await openDirectory(directory, name);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes an entry and all below it, without following links whoever puts them there. */
async function removeEntry(parent: FileHandle, name: string): Promise<void> {
  const path = bytesOf(at(parent, name));
  if ((await kindOf(parent, name)) !== true) return unlink(path);
  const directory = await openDirectory(parent, name);
  try {
    for (const below of await readdir(at(directory, '.'), { encoding: 'latin1' }))
      await removeEntry(directory, below);
  } finally {
    await directory.close();
  }
  await rmdir(path);
}

async function readable<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    const options = { cause: error };
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new HoldfastError('NOT_FOUND', `there is no directory ${path}`, options);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
      throw new HoldfastError('FORBIDDEN', `may not write in ${path}`, options);
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new HoldfastError('ENOSPC', `there is no room left in ${path}`, options);
    throw new HoldfastError('DISK_FAILED', `cannot write in ${path}: ${String(error)}`, options);
  }
}

/** What a {@link DirectoryCopyPlace} is made for. */
interface PlaceOptions {
  readonly target: CopyTarget;
  readonly onAttributeProblem?: AttributeProblem;
}

/** A {@link CopyPlace} in a directory of this host. Whether its maker lives is told by flock(2). */
export class DirectoryCopyPlace implements CopyPlace {
  readonly sink: DirectorySink;
  readonly name: string;
  readonly #path: string;
  readonly #parent: FileHandle;
  readonly #stage: { readonly name: string; readonly handle: FileHandle };
  readonly #target: CopyTarget;

  private constructor(
    path: string,
    parts: {
      readonly parent: FileHandle;
      readonly stage: { readonly name: string; readonly handle: FileHandle };
      readonly options: PlaceOptions;
    },
  ) {
    const { parent, stage, options } = parts;
    this.#path = path;
    this.#parent = parent;
    this.#stage = stage;
    this.#target = options.target;
    this.name = options.target.name;
    this.sink = new DirectorySink(at(stage.handle, '.'), options.onAttributeProblem);
  }

  /**
   * Makes a place in a directory that exists, by absolute path. NOT_FOUND, FORBIDDEN, and before
   * anything is made, for the target: EEXIST, EISDIR, ENOTDIR.
   */
  static async begin(path: string, options: PlaceOptions): Promise<DirectoryCopyPlace> {
    return readable(path, async () => {
      const parent = await open(path, O_RDONLY | O_DIRECTORY);
      try {
        checkTarget(options.target, await kindOf(parent, options.target.name));
        await removeAbandoned(parent);
        for (let attempt = 0; attempt < PLACE_ATTEMPTS_MAX; attempt++) {
          const stage = await tryToMake(parent);
          if (stage !== undefined) return new DirectoryCopyPlace(path, { parent, stage, options });
        }
        throw noPlace();
      } catch (error) {
        await parent.close();
        throw error;
      }
    });
  }

  async publish(): Promise<void> {
    await readable(this.#path, async () => {
      // Before it has its name: a power cut must not leave the name with half of the bytes.
      await syncFileSystem(this.#stage.handle.fd);
      const { name } = this.#target;
      if (checkTarget(this.#target, await kindOf(this.#parent, name))) await this.#exchange();
      else await this.#move();
      await this.#parent.sync();
    });
    // The copy is there. What it took the place of, the next one removes if this fails.
    await this.discard().catch(() => {});
  }

  async discard(): Promise<void> {
    try {
      await removeEntry(this.#parent, this.#stage.name);
    } finally {
      await this.#stage.handle.close();
      await this.#parent.close();
    }
  }

  async #move(): Promise<void> {
    const { name } = this.#target;
    const [from, to] = [at(this.#stage.handle, name), at(this.#parent, name)];
    const result = renameWith(from, to, 'noreplace');
    if (result === -EEXIST) checkTarget({ ...this.#target, overwrite: false }, false);
    if (isUnknown(result)) return rename(bytesOf(from), bytesOf(to)); // looked at just now
    checkResult(result);
  }

  async #exchange(): Promise<void> {
    const { name } = this.#target;
    const [from, to] = [at(this.#stage.handle, name), at(this.#parent, name)];
    const result = renameWith(from, to, 'exchange');
    if (!isUnknown(result)) return checkResult(result);
    // Nothing but the copy lies in the place: any other name is free.
    const away = at(this.#stage.handle, name === 'old' ? 'older' : 'old');
    await rename(bytesOf(to), away);
    try {
      await rename(bytesOf(from), bytesOf(to));
    } catch (error) {
      await rename(away, bytesOf(to));
      throw error;
    }
  }
}

/** A file system, or a kernel, without flags for rename. */
function isUnknown(result: number): boolean {
  return result === -EINVAL || result === -ENOSYS;
}

function checkResult(result: number): void {
  if (result < 0) throw new HoldfastError('DISK_FAILED', `renameat2: errno ${-result}`);
}

/** `undefined` when somebody took it for abandoned before it was locked. */
async function tryToMake(
  parent: FileHandle,
): Promise<{ readonly name: string; readonly handle: FileHandle } | undefined> {
  const name = copyName(randomBytes(COPY_ID_BYTES).toString('hex'));
  await mkdir(at(parent, name), 0o700);
  const handle = await openIfThere(parent, name);
  if (handle === undefined) return undefined;
  const isOurs = lockAlone(handle.fd) && (await kindOf(parent, name)) === true;
  if (isOurs) return { name, handle };
  await handle.close();
  return undefined;
}

/** Removes what dead copies left in a directory, which may be a large one. */
async function removeAbandoned(parent: FileHandle): Promise<void> {
  const found: string[] = [];
  for await (const { name } of await opendir(at(parent, '.'), { encoding: 'latin1' }))
    if (isCopyName(name) && (await kindOf(parent, name)) === true) found.push(name);
  for (const name of found) {
    const handle = await openIfThere(parent, name);
    try {
      if (handle !== undefined && lockAlone(handle.fd)) await removeEntry(parent, name);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error; // somebody else has removed it
    } finally {
      await handle?.close();
    }
  }
}
