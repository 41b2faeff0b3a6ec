import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { appendFile, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** Files of a tree with their size and checksum: what must still be there after a disaster. */
export interface Manifest {
  readonly files: readonly {
    readonly path: string;
    readonly bytes: number;
    readonly sha256: string;
  }[];
  readonly bytes: number;
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
    const { size } = await stat(join(root, path));
    return { path, bytes: size, sha256: await checksum(join(root, path)) };
  });
  return { files, bytes: files.reduce((sum, file) => sum + file.bytes, 0) };
}

/** Copies the manifest's files with several tar pipes at once, keeping modes, owners and times. */
export async function copyTree(
  root: string,
  target: string,
  manifest: Manifest,
  pipes: number,
  progress: Progress,
): Promise<void> {
  await mkdir(target, { recursive: true });
  const shares: string[][] = Array.from({ length: pipes }, () => []);
  // Neighbours go to one pipe, so that pipes seldom make the same directory.
  const size = Math.ceil(manifest.files.length / (pipes * 16));
  for (const [i, file] of manifest.files.entries()) {
    shares[Math.floor(i / size) % pipes]?.push(file.path);
  }
  let done = 0;
  await Promise.all(
    shares.map((share) =>
      tarPipe(root, target, share, () => progress(++done, manifest.files.length)),
    ),
  );
}

async function tarPipe(
  root: string,
  target: string,
  paths: readonly string[],
  onFile: () => void,
): Promise<void> {
  const pack = spawn('tar', ['-C', root, '-cf', '-', '--null', '--no-recursion', '-T', '-'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const unpack = spawn('tar', ['-C', target, '-xpf', '-', '-v'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let partial = '';
  unpack.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (partial + text).split('\n');
    partial = lines.pop() ?? '';
    for (const _line of lines) onFile();
  });
  pack.stdin.end(paths.map((path) => `${path}\0`).join(''));
  const ended = Promise.all([once(pack, 'exit'), once(unpack, 'exit')]);
  await pipeline(pack.stdout, unpack.stdin);
  for (const [status] of await ended) {
    if (status !== 0) throw new Error(`tar ended with ${String(status)}`);
  }
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

async function checksum(path: string): Promise<string> {
  const hash = createHash('sha256');
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
