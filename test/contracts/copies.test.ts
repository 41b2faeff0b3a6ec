import { chmod, link, lstat, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileSystem, NodeReference, RequestContext, VolumeNumber } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import {
  type CopyCounts,
  type CopyPlace,
  copyEntry,
  DirectoryCopyPlace,
  DirectorySource,
  type SourceEntry,
  type TreeSource,
  VolumeCopyPlace,
  VolumeSource,
} from '@holdfast/tree';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../posix/support/memory-file-system.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { type Seen, seeTree } from '../trees/whole-tree.ts';

const ROOT: NodeReference = { volume: 1 as VolumeNumber, ino: 1 as NodeReference['ino'] };
const CONTEXT: RequestContext = { uid: 0, gid: 0, pid: 0, requestId: 0 };
const LEFTOVER = '.holdfast-copy-0123456789ab';

let scratch = '';
beforeEach(async (context) => {
  const isRoot = process.getuid?.() === 0;
  context.skip(!isRoot, 'owners and devices are made by root only');
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-copies-'));
  for (const name of ['original', 'copies']) await mkdir(join(scratch, name));
});
afterEach(async () => {
  if (scratch !== '') await rm(scratch, { recursive: true, force: true });
});

interface Wish {
  readonly name: string;
  readonly overwrite?: boolean;
  readonly isDirectory?: boolean;
}

interface Place {
  begin(wish: Wish): Promise<CopyPlace>;
  source(): TreeSource;
  /** Names in the directory that copies go to. */
  names(): Promise<string[]>;
  makeDirectory(name: string): Promise<void>;
}

function targetOf({ name, overwrite = false, isDirectory = true }: Wish) {
  return { target: { name, overwrite, isDirectory }, onAttributeProblem: fail };
}

function fail(name: string, what: string, error: unknown): void {
  throw new Error(`${what} of ${name}`, { cause: error });
}

function volumePlace(fileSystem: FileSystem): Place {
  const made = { kind: 'directory', mode: 0o755, rdev: 0, target: '', exclusive: true } as const;
  return {
    begin: (wish) => VolumeCopyPlace.begin(fileSystem, ROOT, targetOf(wish)),
    source: () => new VolumeSource(fileSystem, ROOT),
    names: async () => {
      const { entries } = await fileSystem.readDirectory(ROOT, 0, 100, CONTEXT);
      return entries.map(({ name }) => name).sort();
    },
    makeDirectory: async (name) => void (await fileSystem.create(ROOT, name, made, CONTEXT)),
  };
}

const PLACES: Record<string, () => Place> = {
  directory: () => {
    const path = join(scratch, 'copies');
    return {
      begin: (wish) => DirectoryCopyPlace.begin(path, targetOf(wish)),
      source: () => new DirectorySource(path),
      names: async () => (await readdir(path)).sort(),
      makeDirectory: (name) => mkdir(join(path, name)),
    };
  },
  volume: () => volumePlace(new MemoryFileSystem()),
};

async function entryOf(source: TreeSource, path: string): Promise<SourceEntry> {
  let entry = await source.root();
  const names = path === '' ? [] : path.split('/');
  for (const [at, name] of names.entries())
    for await (const child of source.list(names.slice(0, at).join('/'), entry))
      if (child.name === name) {
        entry = child;
        break;
      }
  return entry;
}

async function fill(place: CopyPlace, path = ''): Promise<CopyCounts> {
  const source = new DirectorySource(join(scratch, 'original'));
  const entry = await entryOf(source, path);
  return copyEntry(place.sink, { source, path, entry, name: place.name });
}

/** A tree below a name, as if that were the root. */
async function below(source: TreeSource, top: string): Promise<Map<string, Seen>> {
  const all = await seeTree(source);
  const cut = (path: string): string => path.slice(top.length).replace(/^\//, '');
  return new Map(
    [...all]
      .filter(([path]) => path === top || path.startsWith(`${top}/`))
      .map(([path, seen]) => [cut(path), { ...seen, sameAs: cut(seen.sameAs) }]),
  );
}

async function rejection(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each(Object.keys(PLACES))('a copy into a %s', (kind) => {
  let place: Place;
  beforeEach(() => {
    place = PLACES[kind]!();
  });

  it('is there with everything, holes too, and was not to be seen before', async () => {
    makeSampleTree(join(scratch, 'original'));
    const making = await place.begin({ name: 'all' });
    const counts = await fill(making);
    expect(await place.names()).toEqual([expect.stringMatching(/^\.holdfast-copy-/)]);
    await making.publish();
    expect(await place.names()).toEqual(['all']);
    const original = new DirectorySource(join(scratch, 'original'));
    expect(await below(place.source(), 'all')).toEqual(await seeTree(original));
    // 'holes' and 'all-hole' are 4 MiB long; of them a few blocks were written.
    expect(counts.bytes).toBeLessThan(600_000);
    expect(counts.files + counts.directories + counts.others).toBe((await seeTree(original)).size);
  });

  it('may be one file, also one with names outside', async () => {
    await writeFile(join(scratch, 'original/f'), 'content');
    await chmod(join(scratch, 'original/f'), 0o4711);
    await link(join(scratch, 'original/f'), join(scratch, 'original/g'));
    const making = await place.begin({ name: 'new', isDirectory: false });
    await fill(making, 'f');
    await making.publish();
    const seen = (await seeTree(place.source())).get('new');
    expect(seen).toMatchObject({ content: 'content', mode: '4711' });
    expect(await place.names()).toEqual(['new']);
  });

  it('takes the place of what is there only when it may, and as a whole', async () => {
    await writeFile(join(scratch, 'original/one'), '1');
    const copy = async (wish: Wish, path = ''): Promise<void> => {
      const making = await place.begin(wish);
      try {
        await fill(making, path);
        await making.publish();
      } catch (error) {
        await making.discard();
        throw error;
      }
    };
    await copy({ name: 'd' });
    expect(await rejection(copy({ name: 'd' }))).toMatchObject({ code: 'EEXIST' });
    await rm(join(scratch, 'original/one'));
    await writeFile(join(scratch, 'original/two'), '2');
    await copy({ name: 'd', overwrite: true });
    expect([...(await seeTree(place.source())).keys()]).toEqual(['', 'd', 'd/two']);
    const file = { name: 'd', overwrite: true, isDirectory: false };
    expect(await rejection(copy(file, 'two'))).toMatchObject({ code: 'EISDIR' });
    await copy({ name: 'f', isDirectory: false }, 'two');
    expect(await rejection(copy({ name: 'f', overwrite: true }))).toMatchObject({
      code: 'ENOTDIR',
    });
    await writeFile(join(scratch, 'original/two'), 'second');
    await copy({ name: 'f', overwrite: true, isDirectory: false }, 'two');
    expect((await seeTree(place.source())).get('f')?.content).toBe('second');
    expect(await place.names()).toEqual(['d', 'f']);
  });

  it('does not replace what got the name while it was made', async () => {
    const making = await place.begin({ name: 'd' });
    await fill(making);
    await place.makeDirectory('d');
    expect(await rejection(making.publish())).toMatchObject({ code: 'EEXIST' });
    await making.discard();
    expect(await place.names()).toEqual(['d']);
  });

  it('leaves nothing when it is given up, half full', async () => {
    makeSampleTree(join(scratch, 'original'));
    const making = await place.begin({ name: 'd' });
    const source = new DirectorySource(join(scratch, 'original'));
    const stop = new AbortController();
    const copying = copyEntry(making.sink, {
      source,
      path: '',
      entry: await source.root(),
      name: 'd',
      signal: stop.signal,
      onProgress: ({ files }) => {
        if (files === 3) stop.abort(new HoldfastError('EINTR', 'enough'));
      },
    });
    expect(await rejection(copying)).toMatchObject({ message: 'enough' });
    await making.discard();
    expect(await place.names()).toEqual([]);
  });

  it('removes what a dead one left in the directory, and nothing else', async () => {
    for (const name of [LEFTOVER, '.holdfast-copy-of-mine']) await place.makeDirectory(name);
    const making = await place.begin({ name: 'd' });
    await fill(making);
    await making.publish();
    expect(await place.names()).toEqual(['.holdfast-copy-of-mine', 'd']);
  });
});

describe('a copy into a directory of this host', () => {
  it('leaves alone what another one is making', async () => {
    const place = PLACES.directory!();
    const first = await place.begin({ name: 'first' });
    const second = await place.begin({ name: 'second' });
    for (const making of [second, first]) {
      await fill(making);
      await making.publish();
    }
    expect(await place.names()).toEqual(['first', 'second']);
  });

  it('begins beside others that remove what a dead one left, at the same moment', async () => {
    const place = PLACES.directory!();
    for (const digit of '0123456789') {
      await place.makeDirectory(`${LEFTOVER.slice(0, -1)}${digit}`);
      await writeFile(join(scratch, 'copies', `${LEFTOVER.slice(0, -1)}${digit}`, 'f'), digit);
    }
    const all = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => place.begin({ name }));
    for (const making of await Promise.all(all)) {
      await fill(making);
      await making.publish();
    }
    expect(await place.names()).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  });

  it('can be entered by nobody else before it is complete', async () => {
    const making = await PLACES.directory!().begin({ name: 'd' });
    const [name] = await readdir(join(scratch, 'copies'));
    expect((await lstat(join(scratch, 'copies', name!))).mode & 0o777).toBe(0o700);
    await making.discard();
  });
});

/** The same file system, which fails every change from one on, as if its user had been killed. */
function killedAfter(fileSystem: MemoryFileSystem, changes: number): FileSystem {
  let left = changes;
  const names = ['create', 'rename', 'unlink', 'removeDirectory', 'setAttributes', 'write'];
  return new Proxy(fileSystem, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown =>
        names.includes(String(name)) && left-- <= 0
          ? Promise.reject(new HoldfastError('SESSION_EXPIRED', 'killed'))
          : Reflect.apply(value, target, args);
    },
  });
}

describe('a copy into a volume', () => {
  it.each([false, true])(
    'is there whole or not at all, wherever it is killed',
    async (overwrite) => {
      const write = (text: string): Promise<void> =>
        writeFile(join(scratch, 'original/f'), text).then(() =>
          writeFile(join(scratch, 'original/g'), text),
        );
      const copy = async (fileSystem: FileSystem): Promise<void> => {
        const making = await volumePlace(fileSystem).begin({ name: 'd', overwrite });
        await fill(making);
        await making.publish();
      };
      const seen = new Set<string>();
      for (let changes = 0; changes < 40; changes++) {
        const fileSystem = new MemoryFileSystem();
        if (overwrite) {
          await write('old');
          await copy(fileSystem);
        }
        await write('new');
        await rejection(copy(killedAfter(fileSystem, changes)));
        const place = volumePlace(fileSystem);
        const tree = await seeTree(place.source());
        const [f, g] = ['d/f', 'd/g'].map((path) => tree.get(path)?.content);
        expect(f).toBe(g);
        seen.add(f ?? 'nothing');
        await (await place.begin({ name: 'other' })).discard();
        expect((await place.names()).filter((name) => name !== 'd')).toEqual([]);
      }
      expect([...seen].sort()).toEqual(['new', overwrite ? 'old' : 'nothing']);
    },
  );
});
