/**
 * Databases that a power cut cannot tear while they are new. LevelDB flushes neither the manifest of a
 * new database nor the name of its CURRENT file; until the file system writes its own journal, for
 * seconds, a cut may leave a CURRENT that names an empty manifest, and nothing opens that again.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type DatabaseOptions, Level } from 'level';
import { makeDirectory, syncDirectory } from './membership/durable-files.ts';

/** Between the name of a database and the random end of that of one being made for it. */
const UNFINISHED = '.new-';

/** Whether `name` is that of an unfinished database `database` in the same directory. */
export function isUnfinishedLevel(name: string, database: string): boolean {
  return name.startsWith(database + UNFINISHED);
}

/**
 * Opens the LevelDB at `path`. When there is none an empty one is made, flushed with every name on the
 * way to it: under another name, and given its own when it is whole. Throws what level and the file
 * system do, and Error when there are remains of a database that has lost its CURRENT file: LevelDB
 * would begin an empty one over them.
 */
export async function openDurableLevel<K = string, V = string>(
  path: string,
  options: DatabaseOptions<K, V> = {},
): Promise<Level<K, V>> {
  await ensureDurable(path);
  // Not before: it begins to open by itself as soon as it is made.
  const level = new Level<K, V>(path, options);
  await level.open();
  return level;
}

async function ensureDurable(path: string): Promise<void> {
  const names = await namesIn(path);
  if (names.includes('CURRENT')) return;
  if (names.length > 0) throw new Error(`${join(path, 'CURRENT')} is missing`);
  const parent = dirname(path);
  await makeDirectory(parent, 0o700);
  const unfinished = path + UNFINISHED + randomBytes(4).toString('hex');
  try {
    await mkdir(unfinished, { mode: 0o700 });
    await makeEmptyLevel(unfinished);
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { recursive: true, force: true });
    // Another process may have made it meanwhile: who opens it finds that one, locked.
    if (!(await namesIn(path)).includes('CURRENT')) throw cause;
  }
  await syncDirectory(parent);
  for (const name of await readdir(parent)) {
    if (!isUnfinishedLevel(name, basename(path))) continue;
    await rm(join(parent, name), { recursive: true, force: true });
  }
}

async function makeEmptyLevel(path: string): Promise<void> {
  const level = new Level(path);
  await level.open();
  await level.close();
  for (const name of await readdir(path)) {
    const file = await open(join(path, name), 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await syncDirectory(path);
}

async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** What a failure of level says, with what its storage said, which level wraps. */
export function failureText(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
