/**
 * A program that must not notice that the mount daemon is killed: it works on files that it holds
 * open and on names, and checks everything that it reads. Prints a line a round; ends at SIGTERM.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';

const directory = process.argv[2] ?? '.';
const bytes = Buffer.alloc(64 * 1024);

function fill(seed: number): void {
  for (let at = 0; at < bytes.length; at += 4)
    bytes.writeUInt32LE((seed * 2654435761 + at) >>> 0, at);
}

function verify(descriptor: number, seed: number): void {
  const back = Buffer.alloc(bytes.length);
  let length = 0;
  while (length < back.length) {
    const read = fs.readSync(descriptor, back, length, back.length - length, length);
    if (read === 0) break;
    length += read;
  }
  fill(seed);
  if (Buffer.compare(back.subarray(0, length), bytes) !== 0)
    throw new Error(`round ${seed}: wrong bytes`);
}

/** One of each operation that must take effect exactly once. */
function names(round: number): void {
  const path = (name: string) => join(directory, `${name}-${round}`);
  fs.mkdirSync(path('dir'));
  fs.writeFileSync(join(path('dir'), 'file'), `${round}`, { flag: 'wx' });
  fs.linkSync(join(path('dir'), 'file'), path('link'));
  fs.symlinkSync('target', path('symlink'));
  fs.renameSync(path('link'), path('renamed'));
  if (fs.readFileSync(path('renamed'), 'utf8') !== `${round}`) throw new Error('wrong content');
  fs.appendFileSync(join(directory, 'log'), `${round}\n`);
  fs.unlinkSync(path('renamed'));
  fs.unlinkSync(path('symlink'));
  fs.unlinkSync(join(path('dir'), 'file'));
  fs.rmdirSync(path('dir'));
}

const held = fs.openSync(join(directory, 'held'), 'w+');
const removed = fs.openSync(join(directory, 'removed'), 'w+');
fs.unlinkSync(join(directory, 'removed'));

let round = 0;
function work(): void {
  round += 1;
  for (const descriptor of [held, removed]) {
    fill(round);
    fs.writeSync(descriptor, bytes, 0, bytes.length, 0);
    verify(descriptor, round);
    if (fs.fstatSync(descriptor).size !== bytes.length) throw new Error('wrong size');
  }
  names(round);
  console.log(round);
  setImmediate(work);
}

process.once('SIGTERM', () => {
  const log = fs.readFileSync(join(directory, 'log'), 'utf8').split('\n').slice(0, -1);
  const isWhole = log.length === round && log.every((line, index) => line === `${index + 1}`);
  process.exit(isWhole ? 0 : 1);
});
work();
