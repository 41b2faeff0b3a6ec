/** Files that are whole or not there, whatever moment the power fails. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/**
 * Writes a file and flushes it and its directory; readers see the old or the new bytes, never a part.
 * `mode` is that of the file (0o600 for secrets).
 */
export async function writeDurably(path: string, data: string, mode = 0o644): Promise<void> {
  await writeBytesDurably(path, Buffer.from(data), mode);
}

/** {@link writeDurably} for bytes. */
export async function writeBytesDurably(
  path: string,
  data: Uint8Array,
  mode = 0o644,
): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes names created, renamed or removed in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Makes a directory with its parents, and makes durable its name and those of the parents it made. */
export async function makeDirectory(path: string, mode = 0o755): Promise<void> {
  const made = resolve(path);
  try {
    await mkdir(made, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const parent = dirname(made);
    // Level by level: Node's own recursion never ends where a parent exists and the answer is ENOENT (/proc).
    if (code === 'ENOENT' && !existsSync(parent)) {
      await makeDirectory(parent, mode);
      return makeDirectory(made, mode);
    }
    if (code !== 'EEXIST' || !(await stat(made)).isDirectory()) throw error;
  }
  if (made !== '/') await syncDirectory(dirname(made));
}

/** The text of a file, undefined when it is not there. Other failures are thrown as they are. */
export async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
