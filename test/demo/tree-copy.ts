import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { appendFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Files of a tree with their size and checksum: what must still be there after a disaster. */
export interface Manifest {
  readonly files: readonly ManifestFile[];
  readonly bytes: number;
}

/** One regular file. */
export interface ManifestFile {
  readonly path: string;
  readonly bytes: number;
  /** Permission bits. */
  readonly mode: number;
  readonly sha256: string;
}

/** Told how many of how many are done. */
export type Progress = (done: number, total: number) => void;

/** Reads trees below `root` (relative paths) and notes every regular file. */
export async function makeManifest(root: string, trees: readonly string[]): Promise<Manifest> {
  const paths: string[] = [];
  for (const tree of trees) {
    const entries = await readdir(join(root, tree), { recursive: true, withFileTypes: true });
    for (const entry of entries) {
      if (entry.isFile()) paths.push(join(entry.parentPath, entry.name).slice(root.length + 1));
    }
  }
  const files = await inParallel(8, paths, async (path) => {
    const { size, mode } = await stat(join(root, path));
    return { path, bytes: size, mode: mode & 0o777, sha256: await checksum(join(root, path)) };
  });
  return { files, bytes: files.reduce((sum, file) => sum + file.bytes, 0) };
}

/** Copies the manifest's files, `width` at a time, with their permissions. */
export async function copyTree(
  root: string,
  target: string,
  manifest: Manifest,
  width: number,
  progress: Progress,
): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const level of foldersByDepth(manifest)) {
    await inParallel(width, level, async (folder) => {
      await mkdir(join(target, folder));
    });
  }
  // The kernel makes one name of a directory at a time: neighbours in time should not be neighbours.
  const scattered = [...manifest.files].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
  let done = 0;
  await inParallel(width, scattered, async ({ path, mode }) => {
    await writeFile(join(target, path), await readFile(join(root, path)), { mode });
    progress(++done, manifest.files.length);
  });
}

/** Every folder of the manifest's files, those of one depth together, parents first. */
function foldersByDepth(manifest: Manifest): string[][] {
  const folders = new Set<string>();
  for (const { path } of manifest.files) {
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) folders.add(folder);
  }
  const levels: string[][] = [];
  for (const folder of folders) {
    const depth = folder.split('/').length - 1;
    levels[depth] = [...(levels[depth] ?? []), folder];
  }
  return levels;
}

/** Reads every file back and compares; answers the paths that differ or cannot be read. */
export async function verifyTree(
  target: string,
  manifest: Manifest,
  progress: Progress,
): Promise<string[]> {
  let done = 0;
  const wrong = await inParallel(16, manifest.files, async (file) => {
    const found = await checksum(join(target, file.path)).catch((error: Error) => error.message);
    progress(++done, manifest.files.length);
    return found === file.sha256 ? undefined : `${file.path}: ${found}`;
  });
  return wrong.filter((path) => path !== undefined);
}

/** Appends a line to each of some files, as a sign of life. */
export async function appendLines(directory: string, count: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (let i = 0; i < count; i++)
    await appendFile(join(directory, `note-${i}`), `written at ${new Date().toISOString()}\n`);
}

/** Files up to so many bytes are read at once, larger ones part by part. */
const WHOLE_BYTES_MAX = 4 * 2 ** 20;

async function checksum(path: string): Promise<string> {
  const hash = createHash('sha256');
  const { size } = await stat(path);
  if (size <= WHOLE_BYTES_MAX) return hash.update(await readFile(path)).digest('hex');
  for await (const part of createReadStream(path, { highWaterMark: 2 ** 20 }))
    hash.update(part as Buffer);
  return hash.digest('hex');
}

async function inParallel<T, R>(
  width: number,
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
