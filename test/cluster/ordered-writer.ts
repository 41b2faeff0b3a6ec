/**
 * Does numbered steps whose order every state of the volume must keep, and prints each number once it
 * is safe: `first` is written before `second`, and a file is complete before it gets its name. With the
 * directory of another writer: copies the number there into `seen`.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const [directory = '', other] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });

function put(name: string, text: string): void {
  const file = openSync(join(directory, name), 'w');
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
}

const first = openSync(join(directory, 'first'), 'w');
const second = openSync(join(directory, 'second'), 'w');
const seen = openSync(join(directory, 'seen'), 'w');
for (let i = 1; ; i++) {
  const number = String(i).padStart(12);
  writeSync(first, number, 0);
  writeSync(second, number, 0);
  fsyncSync(second);
  put('new', `${i}`.repeat(1000));
  renameSync(join(directory, 'new'), join(directory, 'renamed'));
  if (other !== undefined) {
    writeSync(seen, readFileSync(join(other, 'first')), 0, 12, 0);
    fsyncSync(seen);
  }
  writeSync(1, `${i}\n`);
}
