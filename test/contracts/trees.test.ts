import { mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileSystem, NodeReference, VolumeNumber } from '@holdfast/protocol';
import {
  DirectorySink,
  DirectorySource,
  type SinkEntry,
  type TreeSink,
  type TreeSource,
  VolumeSink,
  VolumeSource,
} from '@holdfast/tree';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../posix/support/memory-file-system.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { copyTree, seeTree } from '../trees/whole-tree.ts';

const ROOT: NodeReference = { volume: 1 as VolumeNumber, ino: 1 as NodeReference['ino'] };

let scratch = '';
beforeEach(async (context) => {
  const isRoot = process.getuid?.() === 0;
  context.skip(!isRoot, 'owners and devices are made by root only');
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-trees-'));
});
afterEach(async () => {
  if (scratch !== '') await rm(scratch, { recursive: true, force: true });
});

interface Place {
  readonly sink: TreeSink;
  readonly source: () => TreeSource;
}

const PLACES: Record<string, () => Place> = {
  directory: () => {
    const path = join(scratch, 'copy');
    return {
      sink: new DirectorySink(path, fail),
      source: () => new DirectorySource(path),
    };
  },
  volume: () => {
    const fileSystem: FileSystem = new MemoryFileSystem();
    return {
      sink: new VolumeSink(fileSystem, ROOT, { onAttributeProblem: fail }),
      source: () => new VolumeSource(fileSystem, ROOT),
    };
  },
};

function fail(name: string, what: string, error: unknown): void {
  throw new Error(`${what} of ${name}`, { cause: error });
}

function entry(name: string, more: Partial<SinkEntry> = {}): SinkEntry {
  const times = { atimeNs: 5n, mtimeNs: 7n };
  const none = { size: 0, rdev: 0n, target: '', xattrs: [] };
  return { name, kind: 'file', mode: 0o644, uid: 0, gid: 0, ...times, ...none, ...more };
}

async function listed<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe.each(Object.keys(PLACES))('a tree in a %s', (name) => {
  let place: Place;
  beforeEach(() => {
    place = PLACES[name]!();
  });

  it('comes back with everything that it went in with', async () => {
    const original = join(scratch, 'original');
    await mkdir(original);
    makeSampleTree(original);
    const source = new DirectorySource(original);
    await copyTree(source, place.sink);
    expect(await seeTree(place.source())).toEqual(await seeTree(source));
  });

  it('keeps holes', async () => {
    const top = await place.sink.root();
    const file = await top.file(entry('sparse', { size: 4_194_304 }));
    await file?.write(Buffer.alloc(65_536, 1), 1_048_576);
    await file?.finish();
    const source = place.source();
    const root = await source.root();
    for await (const found of source.list('', root)) {
      const open = await source.open(found.name, found);
      expect(open.size).toBe(4_194_304);
      expect(await open.dataRanges()).toEqual([{ offset: 1_048_576, length: 65_536 }]);
      await open.close();
    }
    await top.finish();
  });

  it('takes a file of the same size and time for complete, unless it is to be fresh', async () => {
    const top = await place.sink.root();
    const write = async (text: string, fresh: boolean): Promise<boolean> => {
      const file = await top.file(entry('one', { size: 3 }), { fresh });
      await file?.write(Buffer.from(text), 0);
      await file?.finish();
      return file !== undefined;
    };
    expect(await write('abc', false)).toBe(true);
    expect(await write('def', false)).toBe(false);
    expect((await seeTree(place.source())).get('one')?.content).toBe('abc');
    expect(await write('ghi', true)).toBe(true);
    expect((await seeTree(place.source())).get('one')?.content).toBe('ghi');
    await top.finish();
  });

  it('never follows a symbolic link', async () => {
    await mkdir(join(scratch, 'outside'));
    const top = await place.sink.root();
    await top.special(entry('way', { kind: 'symlink', target: join(scratch, 'outside') }));
    await expect(top.enter('way')).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(top.link({ name: 'stolen' }, ['way', 'secret'])).rejects.toMatchObject({
      code: expect.stringMatching(/^(ENOTDIR|NOT_FOUND)$/),
    });
    const directory = await top.directory(entry('way', { kind: 'directory', mode: 0o755 }));
    await (await directory.file(entry('inside')))?.finish();
    await directory.finish();
    await top.finish();
    expect([...(await seeTree(place.source())).keys()]).toEqual(['', 'way', 'way/inside']);
    await expect(stat(join(scratch, 'outside/inside'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('puts the times of a directory that is entered again back as they were', async () => {
    const top = await place.sink.root();
    expect(await top.enter('d')).toBeUndefined();
    const made = entry('d', { kind: 'directory', mode: 0o755, mtimeNs: 123_456_789_123n });
    await (await top.directory(made)).finish(made);
    const again = await top.enter('d');
    await (await again?.file(entry('late')))?.finish();
    await again?.finish();
    await top.finish();
    expect((await seeTree(place.source())).get('d')?.mtimeNs).toBe(123_456_789_123n);
  });

  it('does not remove a directory that stands where a file belongs', async () => {
    const top = await place.sink.root();
    const made = entry('d', { kind: 'directory', mode: 0o755 });
    await (await top.directory(made)).finish(made);
    await expect(top.file(entry('d'))).rejects.toMatchObject({ code: 'EEXIST' });
    await top.finish();
  });
});

describe('a directory of this host as a source', () => {
  it('does not follow a link that somebody put in the way', async () => {
    await mkdir(join(scratch, 'tree/d'), { recursive: true });
    await mkdir(join(scratch, 'outside'));
    await writeFile(join(scratch, 'tree/d/f'), 'inside');
    await writeFile(join(scratch, 'outside/f'), 'outside');
    const source: TreeSource = new DirectorySource(join(scratch, 'tree'));
    const root = await source.root();
    const [d] = await listed(source.list('', root));
    const [f] = await listed(source.list('d', d!));
    await rename(join(scratch, 'tree/d'), join(scratch, 'tree/moved'));
    await symlink(join(scratch, 'outside'), join(scratch, 'tree/d'));
    await expect(source.open('d/f', f!)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(source.xattrs('d/f', f!)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(listed(source.list('d', d!))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(await readFile(join(scratch, 'outside/f'), 'utf8')).toBe('outside');
  });
});
