import type { FileSystem, NodeReference, RequestContext, VolumeNumber } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import { type SinkEntry, VolumeSource, VolumeStage } from '@holdfast/tree';
import { describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../posix/support/memory-file-system.ts';
import { seeTree } from '../trees/whole-tree.ts';

const ROOT: NodeReference = { volume: 1 as VolumeNumber, ino: 1 as NodeReference['ino'] };
const CONTEXT: RequestContext = { uid: 0, gid: 0, pid: 0, requestId: 0 };

function entry(name: string, kind: SinkEntry['kind'] = 'file'): SinkEntry {
  const times = { atimeNs: 5n, mtimeNs: 7n };
  return {
    name,
    kind,
    mode: 0o751,
    uid: 1,
    gid: 2,
    size: 0,
    rdev: 0n,
    target: '',
    xattrs: [],
    ...times,
  };
}

async function fill(stage: VolumeStage): Promise<void> {
  const top = await stage.sink.root();
  for (const name of ['a', 'b', 'c']) {
    const directory = await top.directory(entry(name, 'directory'));
    await (await directory.file(entry('f')))?.finish();
    await directory.finish(entry(name, 'directory'));
  }
  await top.finish(entry('', 'directory'));
}

const COMPLETE = ['', 'a', 'a/f', 'b', 'b/f', 'c', 'c/f'];

async function paths(fileSystem: FileSystem): Promise<string[]> {
  return [...(await seeTree(new VolumeSource(fileSystem, ROOT))).keys()];
}

async function rootNames(fileSystem: FileSystem): Promise<string[]> {
  const { entries } = await fileSystem.readDirectory(ROOT, 0, 100, CONTEXT);
  return entries.map(({ name }) => name).sort();
}

async function rootMtime(fileSystem: FileSystem): Promise<bigint> {
  return (await fileSystem.getAttributes(ROOT, CONTEXT)).attributes.mtimeNs;
}

/** The same file system, which fails every change from one on, as if its user had been killed. */
function killedAfter(fileSystem: MemoryFileSystem, changes: number): FileSystem {
  let left = changes;
  return new Proxy(fileSystem, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      const isChange = [
        'create',
        'rename',
        'unlink',
        'removeDirectory',
        'setAttributes',
        'setXattr',
      ].includes(String(name));
      return (...args: unknown[]): unknown => {
        if (isChange && left-- <= 0)
          return Promise.reject(new HoldfastError('SESSION_EXPIRED', 'killed'));
        return Reflect.apply(value, target, args);
      };
    },
  });
}

// One for all: the memory file system knows requests by their numbers alone.

describe('a volume that is filled', () => {
  const begin = (fileSystem: FileSystem, id: string): Promise<VolumeStage> =>
    VolumeStage.begin(fileSystem, ROOT, { id });

  it('shows nothing before it is complete, and then everything with the attributes of its root', async () => {
    const fileSystem = new MemoryFileSystem();
    const stage = await begin(fileSystem, 'one');
    await fill(stage);
    expect(await paths(fileSystem)).toEqual(['']);
    await stage.publish();
    expect(await paths(fileSystem)).toEqual(COMPLETE);
    expect(await rootNames(fileSystem)).toEqual(['a', 'b', 'c']);
    const root = (await seeTree(new VolumeSource(fileSystem, ROOT))).get('');
    expect(root).toMatchObject({ mode: '751', owner: '1:2', mtimeNs: 7n });
  });

  it('is as it was when the filling is given up', async () => {
    const fileSystem = new MemoryFileSystem();
    const stage = await begin(fileSystem, 'one');
    await fill(stage);
    await stage.discard();
    expect(await rootNames(fileSystem)).toEqual([]);
    expect(fileSystem.inodes).toBe(1);
  });

  it.each(['.snapshots', '.holdfast-import-evil', '.holdfast-import-evil-complete'])(
    'refuses %s in its root at once, and nothing below it',
    async (name) => {
      const fileSystem = new MemoryFileSystem();
      const stage = await begin(fileSystem, 'one');
      const top = await stage.sink.root();
      const refusal = { code: 'CONFLICT', message: expect.stringContaining(name) };
      await (await top.file(entry('a')))?.finish();
      await expect(top.directory(entry(name, 'directory'))).rejects.toMatchObject(refusal);
      await expect(top.file(entry(name))).rejects.toMatchObject(refusal);
      await expect(top.special(entry(name, 'symlink'))).rejects.toMatchObject(refusal);
      await expect(top.link({ name }, ['a'])).rejects.toMatchObject(refusal);
      const below = await top.directory(entry('d', 'directory'));
      await (await below.file(entry(name)))?.finish();
      await stage.discard();
      expect(await rootNames(fileSystem)).toEqual([]);
    },
  );

  it('must be empty, and is filled by one at a time', async () => {
    const fileSystem = new MemoryFileSystem();
    const stage = await begin(fileSystem, 'one');
    // A second session: the memory file system knows sessions by the owners of their locks.
    const other = new Proxy(fileSystem, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return (...[node, lock, ...rest]: object[]): unknown =>
          Reflect.apply(value, target, [
            node,
            name === 'setLock' ? { ...lock, owner: '2' } : lock,
            ...rest,
          ]);
      },
    });
    await expect(begin(other, 'two')).rejects.toMatchObject({ code: 'CONFLICT' });
    await fill(stage);
    await stage.publish();
    await expect(begin(fileSystem, 'three')).rejects.toThrow(/not empty/);
    expect(await rootNames(fileSystem)).toEqual(['a', 'b', 'c']);
  });

  it('is empty or complete after the next one looked, wherever a filling was killed', async () => {
    const seen = new Set<string>();
    for (let changes = 0; ; changes++) {
      const fileSystem = new MemoryFileSystem();
      const mortal = killedAfter(fileSystem, changes);
      const failure = await (async () => {
        const stage = await begin(mortal, 'one');
        await fill(stage);
        await stage.publish();
      })().catch((error: unknown) => error);
      if (failure === undefined) break;
      const next = await begin(fileSystem, 'two').then(
        async (stage) => stage.discard(),
        (error: unknown) => error,
      );
      const after = await paths(fileSystem);
      expect([[''], COMPLETE]).toContainEqual(after);
      expect(next instanceof HoldfastError).toBe(after.length > 1);
      expect((await rootNames(fileSystem)).filter((name) => name.startsWith('.'))).toEqual([]);
      seen.add(String(after.length));
    }
    expect(seen.size).toBe(2);
  });

  it('that is gone on with is complete in the end, wherever it was killed, and begins nothing anew', async () => {
    const resume = (fileSystem: FileSystem): Promise<VolumeStage | undefined> =>
      VolumeStage.resume(fileSystem, ROOT, { id: 'kept' });
    const outcomes = new Set<string>();
    for (let changes = 0; ; changes++) {
      const fileSystem = new MemoryFileSystem();
      const run = async (through: FileSystem): Promise<string> => {
        const stage = await resume(through);
        if (stage === undefined) return 'complete';
        const there = await (await stage.sink.root()).names();
        await fill(stage);
        await stage.publish();
        return there.length > 0 ? 'gone on' : 'begun';
      };
      const failure = await run(killedAfter(fileSystem, changes)).catch((error: unknown) => error);
      if (!(failure instanceof HoldfastError)) break;
      // Only what is in its place already is refused: who fills knows that it was complete.
      const outcome = await run(fileSystem).catch((error: HoldfastError) => error.code);
      outcomes.add(outcome);
      // Killed after the last name was moved, and before the times were given back.
      const isLate = outcome === 'CONFLICT';
      expect(isLate || (await rootMtime(fileSystem)) === 7n).toBe(true);
      expect(await paths(fileSystem)).toEqual(COMPLETE);
      expect(await rootNames(fileSystem)).toEqual(['a', 'b', 'c']);
    }
    expect([...outcomes].sort()).toEqual(['CONFLICT', 'begun', 'complete', 'gone on']);
  });

  it('is gone on with beside what another one left that died', async () => {
    const fileSystem = new MemoryFileSystem();
    await fill(await begin(fileSystem, 'kept'));
    const made = { kind: 'directory', mode: 0o700, rdev: 0, target: '', exclusive: true } as const;
    await fileSystem.create(ROOT, '.holdfast-import-dead', made, CONTEXT);
    expect(await VolumeStage.isThere(fileSystem, ROOT, 'kept')).toBe(true);
    expect(await VolumeStage.isThere(fileSystem, ROOT, 'other')).toBe(false);
    const stage = await VolumeStage.resume(fileSystem, ROOT, { id: 'kept' });
    expect([...((await (await stage?.sink.root())?.names()) ?? [])].sort()).toEqual([
      'a',
      'b',
      'c',
    ]);
    await stage?.publish();
    expect(await rootNames(fileSystem)).toEqual(['a', 'b', 'c']);
    expect(await VolumeStage.isThere(fileSystem, ROOT, 'kept')).toBe(false);
  });
});
