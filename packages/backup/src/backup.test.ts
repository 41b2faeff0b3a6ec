import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readlink,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectorySink, DirectorySource, type TreeSource } from '@holdfast/tree';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BackupOptions, type BackupResult, backup } from './backup.ts';
import { type Snapshot, type SnapshotFacts, snapshotDocument } from './format/snapshot.ts';
import { encodeTree, type TreeNode } from './format/tree.ts';
import { BlobIndex } from './repository/blob-index.ts';
import { PackWriter } from './repository/pack-writer.ts';
import { initRepository, Repository } from './repository/repository.ts';
import { readSnapshot } from './repository/snapshots.ts';
import { restore } from './restore.ts';
import { DirectoryStore } from './store/directory.ts';
import { quickSurroundings } from './testing/quick-surroundings.ts';
import { WatchedStore } from './testing/watched-store.ts';

/** Bytes that neither compress nor repeat, the same for the same seed. */
function noise(length: number, seed: number): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(
    Buffer.alloc(length),
  );
}

const find = (path: string): string =>
  execFileSync('find', [path, '-printf', '%P %y %m %U %G %T@ %n %l %s\n'])
    .toString('latin1')
    .split('\n')
    .toSorted()
    .join('\n');

const digests = (path: string): string =>
  execFileSync('bash', ['-c', 'find . -type f -exec sha256sum {} + | sort'], {
    cwd: path,
  }).toString('latin1');

describe('a backup', () => {
  let root: string;
  let source: string;
  let repository: Repository;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-backup-'));
    source = join(root, 'source');
    await mkdir(source);
    repository = await initRepository({
      store: new DirectoryStore(join(root, 'repository')),
      password: 'secret',
      cost: { N: 1024, r: 8, p: 1 },
      surroundings: quickSurroundings(),
    });
  });
  afterEach(async () => {
    await rm(root, { recursive: true, force: true });
  });

  const run = (options: Partial<BackupOptions> = {}): Promise<BackupResult> =>
    backup(repository, { source: new DirectorySource(source), path: '/volumes/a', ...options });

  it('comes back with bytes, modes, times, links and holes', async () => {
    await mkdir(join(source, 'sub', 'empty'), { recursive: true });
    await writeFile(join(source, 'sub', 'large'), noise(9_000_000, 1));
    await writeFile(join(source, 'nothing'), '');
    await writeFile(Buffer.from(`${source}/wr\xffng "name"\n`, 'latin1'), 'text');
    await writeFile(join(source, 'sparse'), 'begin');
    await truncate(join(source, 'sparse'), 40_000_000);
    await writeFile(join(source, 'sparse'), 'end', { flag: 'a' });
    await link(join(source, 'sub', 'large'), join(source, 'other name'));
    await symlink(Buffer.from('../no\xffwhere', 'latin1'), join(source, 'link'));
    await chmod(join(source, 'nothing'), 0o4711);
    await chmod(join(source, 'sub'), 0o1755);
    execFileSync('touch', ['-d', '1969-07-20 20:17:40.123456789', join(source, 'nothing')]);
    execFileSync('sh', ['-c', 'mkfifo -m 640 "$1"', 'sh', join(source, 'fifo')]);
    const { snapshot, counts } = await run();
    expect(counts.bytesRead).toBeLessThan(12_000_000);
    const target = join(root, 'target');
    await restore(repository, { snapshot, path: '/volumes/a', sink: new DirectorySink(target) });
    expect(find(target)).toBe(find(source));
    expect(digests(target)).toBe(digests(source));
    expect(await readlink(join(target, 'link'), 'latin1')).toBe('../no\xffwhere');
    expect((await lstat(join(target, 'sparse'))).blocks * 512).toBeLessThan(10_000_000);
    // Again over the same target: nothing is written, nothing changes.
    const again = await restore(repository, {
      snapshot,
      path: '/volumes/a',
      sink: new DirectorySink(target),
    });
    expect(again).toMatchObject({ files: 0, bytesWritten: 0, problems: 0 });
    expect(find(target)).toBe(find(source));
  });

  it('reads and writes only what changed since its parent', async () => {
    const large = noise(20_000_000, 2);
    await writeFile(join(source, 'large'), large);
    await writeFile(join(source, 'small'), 'one');
    const first = await run();
    await writeFile(join(source, 'small'), 'two');
    const second = await run();
    expect(second.snapshot.parent).toBe(first.snapshot.id);
    expect(second.counts).toMatchObject({ files: 2, unchangedFiles: 1, bytesRead: 3 });
    // An insertion near the start moves every byte; all but the first cuts stay where they were.
    await writeFile(join(source, 'large'), Buffer.concat([large.subarray(0, 99), large]));
    const third = await run();
    expect(third.counts.bytesRead).toBe(20_000_099);
    expect(third.written.plainBytes).toBeLessThan(6_000_000);
    const target = join(root, 'target');
    await restore(repository, {
      snapshot: first.snapshot,
      path: '/volumes/a',
      sink: new DirectorySink(target),
    });
    expect(await readFile(join(target, 'small'), 'utf8')).toBe('one');
    expect(large.equals(await readFile(join(target, 'large')))).toBe(true);
  });

  it('uses the packs that a killed one left behind', async () => {
    await writeFile(join(source, 'large'), noise(40_000_000, 3));
    let puts = 0;
    const dying = new Repository({
      config: repository.config,
      key: repository.key,
      surroundings: repository.surroundings,
      store: new WatchedStore(repository.store, {
        // After the second pack nothing reaches the store any more, not even an index.
        beforePut: (key) => {
          if (!key.startsWith('locks/') && ++puts > 2) throw new Error('killed');
        },
      }),
    });
    const options = { source: new DirectorySource(source), path: '/volumes/a' };
    await expect(backup(dying, options)).rejects.toThrow('killed');
    expect(await repository.ids('index')).toEqual([]);
    const second = await run();
    expect(second.adoptedPacks).toBe(2);
    expect(second.written.plainBytes).toBeLessThan(10_000_000);
  });

  it('reads only the blobs that a change touches where the source names the changes', async () => {
    await writeFile(join(source, 'database'), noise(30_000_000, 4));
    await run();
    const changed = noise(8192, 5);
    const handle = await open(join(source, 'database'), 'r+');
    await handle.write(changed, 0, 8192, 15_000_000);
    await handle.close();
    const plain = new DirectorySource(source);
    const knowing: TreeSource = {
      root: () => plain.root(),
      list: (path) => plain.list(path),
      xattrs: (path) => plain.xattrs(path),
      open: async (path, entry) => {
        const file = await plain.open(path, entry);
        return {
          size: file.size,
          read: (into, offset) => file.read(into, offset),
          dataRanges: () => file.dataRanges(),
          close: () => file.close(),
          changedRanges: async () => [{ offset: 15_000_000, length: 8192 }],
        };
      },
    };
    const { counts, snapshot } = await run({ source: knowing });
    expect(counts.bytesRead).toBeLessThan(9_000_000);
    const target = join(root, 'target');
    await restore(repository, { snapshot, path: '/volumes/a', sink: new DirectorySink(target) });
    const restored = await readFile(join(target, 'database'));
    expect(restored.equals(await readFile(join(source, 'database')))).toBe(true);
  });

  it('carries the files of the caller beside the tree', async () => {
    await writeFile(join(source, 'a'), 'a');
    const extra = [{ path: '.holdfast/volume.json', content: Buffer.from('{"size":1}') }];
    const { snapshot } = await run({ extra });
    const target = join(root, 'target');
    await restore(repository, { snapshot, sink: new DirectorySink(target) });
    expect(await readFile(join(target, '.holdfast', 'volume.json'), 'utf8')).toBe('{"size":1}');
    expect(await readFile(join(target, 'volumes', 'a', 'a'), 'utf8')).toBe('a');
  });

  /** A snapshot whose root tree holds these nodes, whatever they are. */
  async function hostile(nodes: readonly Partial<TreeNode>[]): Promise<Snapshot> {
    const writer = new PackWriter(repository, new BlobIndex());
    const content = await writer.add('data', Buffer.from('owned'));
    const plain: TreeNode = {
      name: '',
      kind: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      atimeNs: 0n,
      ctimeNs: 0n,
      inode: 0n,
      deviceId: 0n,
      links: 1,
      size: 0,
      rdev: 0n,
      target: '',
      xattrs: [],
      content: [],
    };
    const inner = await writer.add(
      'tree',
      encodeTree([{ ...plain, name: 'file', size: 5, content: [content] }]),
    );
    const withTrees = nodes.map((node) => ({
      ...plain,
      ...node,
      ...(node.kind === 'directory' ? { subtree: inner } : {}),
      ...(node.kind === 'file' ? { size: 5, content: [content] } : {}),
    }));
    const tree = await writer.add('tree', encodeTree(withTrees));
    await writer.finish();
    const facts: SnapshotFacts = {
      timeNs: 0n,
      tree,
      paths: ['/'],
      hostname: 'h',
      username: '',
      uid: 0,
      gid: 0,
      tags: [],
    };
    return readSnapshot(repository, await repository.save('snapshots', snapshotDocument(facts)));
  }

  it.each(['..', '.', '', 'a/b', '../outside', 'a\0b'])(
    'of a hostile writer does not restore the name %j',
    async (name) => {
      const snapshot = await hostile([{ name, kind: 'file' }]);
      const sink = new DirectorySink(join(root, 'target'));
      await expect(restore(repository, { snapshot, sink })).rejects.toMatchObject({
        code: 'CORRUPT',
      });
    },
  );

  it('of a hostile writer does not lead out through a symbolic link', async () => {
    const outside = join(root, 'outside');
    await mkdir(outside);
    const snapshot = await hostile([
      { name: 'way', kind: 'symlink', target: outside },
      { name: 'way', kind: 'directory' },
      { name: 'file', kind: 'symlink', target: join(outside, 'file') },
      { name: 'file', kind: 'file' },
    ]);
    const target = join(root, 'target');
    await restore(repository, { snapshot, sink: new DirectorySink(target) });
    expect(find(outside).split('\n').filter(Boolean)).toHaveLength(1);
    expect((await lstat(join(target, 'way'))).isDirectory()).toBe(true);
    expect((await lstat(join(target, 'file'))).isFile()).toBe(true);
  });

  it('reports what it cannot read and keeps the rest', async () => {
    await writeFile(join(source, 'good'), 'good');
    await writeFile(join(source, 'gone'), 'gone');
    const plain = new DirectorySource(source);
    const failing: TreeSource = {
      root: () => plain.root(),
      list: (path) => plain.list(path),
      xattrs: (path) => plain.xattrs(path),
      open: async (path, entry) => {
        if (path === 'gone') await rm(join(source, 'gone'));
        return plain.open(path, entry);
      },
    };
    const problems: string[] = [];
    const { counts } = await run({ source: failing, onProblem: (path) => problems.push(path) });
    expect(problems).toEqual(['gone']);
    expect(counts).toMatchObject({ files: 1, problems: 1 });
  });
});
