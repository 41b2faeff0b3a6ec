import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportTree, importTree } from '@holdfast/archive';
import type { NodeReference, VolumeNumber } from '@holdfast/protocol';
import { copyEntry, DirectorySink, type SinkEntry, VolumeSink, VolumeSource } from '@holdfast/tree';
import { expect, it, onTestFinished } from 'vitest';
import { MemoryFileSystem } from '../posix/support/memory-file-system.ts';

const ROOT: NodeReference = { volume: 1 as VolumeNumber, ino: 1 as NodeReference['ino'] };
const PLAIN = { mode: 0o755, uid: 0, gid: 0, mtimeNs: 5n, atimeNs: 6n, size: 0, rdev: 0n };

function entryOf(name: string, kind: SinkEntry['kind']): SinkEntry {
  return { ...PLAIN, name, kind, target: '', xattrs: [] };
}

/** Directories in each other, a file in the innermost. */
async function makeDeep(depth: number): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem();
  const way = [];
  let innermost = await new VolumeSink(fileSystem, ROOT).root();
  for (let at = 0; at < depth; at++) {
    const made = entryOf(`d${at % 10}`, 'directory');
    innermost = await innermost.directory(made);
    way.push({ directory: innermost, made });
  }
  await (await innermost.file(entryOf('leaf', 'file'), { fresh: true }))?.finish();
  for (const { directory, made } of way.toReversed()) await directory.finish(made);
  return fileSystem;
}

it('3,000 directories in each other go out as tar and come back', async () => {
  const [before, after] = [await makeDeep(3_000), new MemoryFileSystem()];
  const { bytes, counts } = exportTree(new VolumeSource(before, ROOT), { format: 'tar' });
  const taken = await importTree(bytes, new VolumeSink(after, ROOT));
  expect([counts.entries, taken.entries]).toEqual([3_002, 3_002]);
  expect(after.inodes).toBe(before.inodes);
});

it('1,500 directories in each other come to a host, where no path may be that long', async () => {
  const there = mkdtempSync(join(tmpdir(), 'holdfast-deep-'));
  onTestFinished(() => rmSync(there, { recursive: true }));
  const source = new VolumeSource(await makeDeep(1_500), ROOT);
  const entry = await source.find('d0');
  const sink = new DirectorySink(there);
  const counts = await copyEntry(sink, { source, path: 'd0', entry, name: 'copy' });
  expect(counts).toMatchObject({ directories: 1_500, files: 1 });
  const found = execFileSync('find', [there, '-name', 'leaf'], { encoding: 'latin1' });
  expect(found.trim().length).toBeGreaterThan(4_096);
});
