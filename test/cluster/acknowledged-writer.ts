/** Appends numbered lines with fsync, and a numbered file each ten, and prints each number once it is safe. */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const [directory = ''] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });
const log = openSync(join(directory, 'log'), 'a');
for (let i = 1; ; i++) {
  writeSync(log, `line ${i}\n`);
  fsyncSync(log);
  if (i % 10 === 0) {
    const file = openSync(join(directory, 'new'), 'w');
    writeSync(file, Buffer.alloc(100_000, String(i % 10)));
    fsyncSync(file);
    closeSync(file);
    renameSync(join(directory, 'new'), join(directory, `file-${i}`));
  }
  writeSync(1, `${i}\n`);
}
