import { spawnSync } from 'node:child_process';
import fs, { constants, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  bytesPerSecond,
  type Figure,
  latency,
  operationsPerSecond,
  percentile,
  timed,
} from './statistics.ts';

/** How much each workload does. */
export interface Scale {
  readonly fileBytes: number;
  readonly randomOperations: number;
  readonly smallFiles: number;
  readonly sqliteCommits: number;
}

export const SCALES: Readonly<Record<'full' | 'quick', Scale>> = {
  full: {
    fileBytes: 256 * 2 ** 20,
    randomOperations: 2_000,
    smallFiles: 5_000,
    sqliteCommits: 500,
  },
  quick: { fileBytes: 32 * 2 ** 20, randomOperations: 200, smallFiles: 500, sqliteCommits: 50 },
};

type Figures = Record<string, Figure>;
/** A fixed workload in a directory of its own; the same steps on every file system. */
type Workload = (directory: string, scale: Scale) => Figures | Promise<Figures>;

const BLOCK_BYTES = 4096;
const STREAM_BYTES = 2 ** 20;

/** Pseudo-random 32-bit numbers from a seed (xorshift), so that each run does the same. */
function randomFrom(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function fill(bytes: number, seed: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  const random = randomFrom(seed);
  for (let at = 0; at + 4 <= bytes; at += 4) buffer.writeUInt32LE(random(), at);
  return buffer;
}

/** Asks the kernel to forget clean pages, so that a read is cold; false when it may not. */
function dropCaches(): boolean {
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '1');
    return true;
  } catch {
    return false;
  }
}

async function sequential(directory: string, scale: Scale): Promise<Figures> {
  const path = join(directory, 'sequential');
  const block = fill(STREAM_BYTES, 7);
  const write = await timed(() => {
    const file = fs.openSync(path, 'w');
    for (let at = 0; at < scale.fileBytes; at += STREAM_BYTES) fs.writeSync(file, block);
    fs.fsyncSync(file);
    fs.closeSync(file);
  });
  const read = (): Promise<number> =>
    timed(() => {
      const file = fs.openSync(path, 'r');
      const into = Buffer.allocUnsafe(STREAM_BYTES);
      while (fs.readSync(file, into) > 0);
      fs.closeSync(file);
    });
  const cold = dropCaches();
  const first = await read();
  const warm = await read();
  return {
    'sequential write, fsync': bytesPerSecond(scale.fileBytes, write),
    [cold ? 'sequential read, cold' : 'sequential read, first']: bytesPerSecond(
      scale.fileBytes,
      first,
    ),
    'sequential read, warm': bytesPerSecond(scale.fileBytes, warm),
  };
}

async function randomRead(directory: string, scale: Scale): Promise<Figures> {
  const file = fs.openSync(join(directory, 'sequential'), 'r');
  const into = Buffer.allocUnsafe(BLOCK_BYTES);
  const random = randomFrom(11);
  const blocks = scale.fileBytes / BLOCK_BYTES;
  const samples: number[] = [];
  dropCaches();
  for (let i = 0; i < scale.randomOperations; i++) {
    samples.push(
      await timed(
        () => void fs.readSync(file, into, 0, BLOCK_BYTES, (random() % blocks) * BLOCK_BYTES),
      ),
    );
  }
  fs.closeSync(file);
  return withPercentiles('random 4 KiB read', samples);
}

async function randomWrite(directory: string, scale: Scale): Promise<Figures> {
  const file = fs.openSync(join(directory, 'sequential'), constants.O_RDWR);
  const block = fill(BLOCK_BYTES, 13);
  const random = randomFrom(17);
  const blocks = scale.fileBytes / BLOCK_BYTES;
  const samples: number[] = [];
  for (let i = 0; i < scale.randomOperations; i++) {
    samples.push(
      await timed(() => {
        fs.writeSync(file, block, 0, BLOCK_BYTES, (random() % blocks) * BLOCK_BYTES);
        fs.fdatasyncSync(file);
      }),
    );
  }
  fs.closeSync(file);
  return withPercentiles('random 4 KiB write, fdatasync', samples);
}

function withPercentiles(name: string, samples: readonly number[]): Figures {
  return {
    [`${name}, p50`]: latency(percentile(samples, 0.5)),
    [`${name}, p99`]: latency(percentile(samples, 0.99)),
  };
}

async function smallFiles(directory: string, scale: Scale): Promise<Figures> {
  const root = join(directory, 'small');
  fs.mkdirSync(root);
  const content = fill(1024, 19);
  const names = Array.from({ length: scale.smallFiles }, (_, i) => join(root, `file-${i}`));
  const each = async (act: (name: string) => void): Promise<Figure> =>
    operationsPerSecond(names.length, await timed(() => names.forEach(act)));
  const create = await each((name) => fs.writeFileSync(name, content));
  const stat = await each((name) => void fs.statSync(name));
  const list = operationsPerSecond(names.length, await timed(() => void fs.readdirSync(root)));
  const rename = await each((name) => fs.renameSync(name, `${name}.renamed`));
  const unlink = await each((name) => fs.unlinkSync(`${name}.renamed`));
  return {
    'create 1 KiB files': create,
    'stat files': stat,
    'list a directory, entries': list,
    'rename files': rename,
    'unlink files': unlink,
  };
}

/** Extracts a tar of a synthetic source tree: directories of 20 files of 0 … 31 KiB. */
async function tar(directory: string, scale: Scale): Promise<Figures> {
  const source = fs.mkdtempSync('/tmp/holdfast-bench-');
  try {
    const random = randomFrom(23);
    const count = Math.min(1_000, scale.smallFiles);
    const content = fill(32 * 1024, 29);
    for (let i = 0; i < count; i++) {
      const folder = join(source, `folder-${Math.floor(i / 20)}`);
      fs.mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, `file-${i}`), content.subarray(0, random() % content.length));
    }
    const archive = `${source}.tar`;
    run('tar', ['-C', source, '-cf', archive, '.']);
    const target = join(directory, 'tar');
    fs.mkdirSync(target);
    const ms = await timed(() => run('tar', ['-C', target, '-xf', archive]));
    fs.rmSync(archive);
    return { 'extract a tar, files': operationsPerSecond(count, ms) };
  } finally {
    fs.rmSync(source, { recursive: true });
  }
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr}`);
}

/** Commits of one row each with synchronous=FULL, rollback journal, as SQLite does by default. */
async function sqlite(directory: string, scale: Scale): Promise<Figures> {
  const database = new DatabaseSync(join(directory, 'commits.db'));
  database.exec('PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)');
  const insert = database.prepare('INSERT INTO t (text) VALUES (?)');
  const ms = await timed(() => {
    for (let i = 0; i < scale.sqliteCommits; i++) insert.run(`row ${i}`);
  });
  database.close();
  return { 'SQLite commits': operationsPerSecond(scale.sqliteCommits, ms) };
}

/** In the order they run: random reads and writes use the file of the sequential ones. */
export const WORKLOADS: Readonly<Record<string, Workload>> = {
  sequential,
  'random-read': randomRead,
  'random-write': randomWrite,
  'small-files': smallFiles,
  tar,
  sqlite,
};
