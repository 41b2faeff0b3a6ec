import { spawnSync } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type ArchiveFormat, exportTree, importFile, importTree } from '@holdfast/archive';
import { HoldfastError, type NodeReference, type VolumeNumber } from '@holdfast/protocol';
import {
  DirectorySink,
  DirectorySource,
  type SinkEntry,
  type TreeSource,
  VolumeSink,
  VolumeSource,
} from '@holdfast/tree';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MemoryFileSystem } from '../posix/support/memory-file-system.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import { type Seen, seeTree } from '../trees/whole-tree.ts';

const ROOT: NodeReference = { volume: 1 as VolumeNumber, ino: 1 as NodeReference['ino'] };
const XATTRS = ['--xattrs', '--xattrs-include=*', '--acls'];

let base: string;
let original: string;
let scratch: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'holdfast-archives-'));
  original = join(base, 'original');
  await mkdir(original);
  makeSampleTree(original);
});
afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});
beforeEach(async () => {
  scratch = await mkdtemp(join(base, 'test-'));
});
afterEach(async () => {
  await rm(scratch, { recursive: true, force: true });
});

/** Runs a program, which must succeed and say nothing on standard error beyond what is expected. */
function run(program: string, args: readonly string[], expected = /^$/): string {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'latin1',
    env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC' },
    maxBuffer: 2 ** 26,
  });
  expect(stderr).toMatch(expected);
  expect(status, stderr).toBe(0);
  return stdout;
}

async function exported(format: ArchiveFormat, from = original): Promise<string> {
  const file = join(scratch, `export.${format}`);
  const { bytes } = exportTree(new DirectorySource(from), { format });
  await pipeline(bytes, createWriteStream(file));
  return file;
}

async function imported(file: string): Promise<TreeSource> {
  const to = await mkdtemp(join(scratch, 'import-'));
  await importFile(file, new DirectorySink(to, fail));
  return new DirectorySource(to);
}

function fail(name: string, what: string, error: unknown): void {
  throw new Error(`${what} of ${name}`, { cause: error });
}

/** The tree without what a format cannot hold. */
function reduced(
  tree: Map<string, Seen>,
  change: (seen: Seen, path: string) => Partial<Seen> | undefined,
): Map<string, Seen> {
  return new Map(
    [...tree].flatMap(([path, seen]) => {
      const changed = change(seen, path);
      return changed === undefined ? [] : [[path, { ...seen, ...changed }] as const];
    }),
  );
}

const NO_TIME = { mtimeNs: 0n };
const wholeSeconds = (ns: bigint): bigint => ns - (((ns % 10n ** 9n) + 10n ** 9n) % 10n ** 9n);

/** What a zip holds: no root, no devices, no attributes, no identity, seconds from 1901 to 2038. */
function asZip(tree: Map<string, Seen>, { keepsTimes = true } = {}): Map<string, Seen> {
  return reduced(tree, (seen, path) => {
    if (path === '' || !['file', 'directory', 'symlink'].includes(seen.kind)) return undefined;
    const hasTime = keepsTimes && !/empty|nothing/.test(path);
    return { sameAs: '', xattrs: {}, mtimeNs: hasTime ? wholeSeconds(seen.mtimeNs) : 0n };
  });
}

describe('an exported tar archive', () => {
  it.each(['tar', 'tar.gz', 'tar.zst'] as const)('comes back whole as %s', async (format) => {
    const source = await imported(await exported(format));
    expect(await seeTree(source)).toEqual(await seeTree(new DirectorySource(original)));
  });

  it('is compared, listed and extracted by GNU tar without a difference', async () => {
    const file = await exported('tar');
    const dates = /^(tar: .*(implausibly old|in the future|hdrcharset).*\n)*$/;
    run('tar', ['--diff', ...XATTRS, '-C', original, '-f', file], dates);
    const theirs = join(scratch, 'theirs');
    await mkdir(theirs);
    run('tar', ['-xp', ...XATTRS, '-C', theirs, '-f', file], dates);
    const seen = await seeTree(new DirectorySource(theirs));
    expect(seen).toEqual(await seeTree(new DirectorySource(original)));
    expect(Number(run('stat', ['-c', '%b', join(theirs, 'all-hole')]))).toBe(0);
    expect(Number(run('stat', ['-c', '%b', join(theirs, 'holes')]))).toBeLessThan(64);
    const changed = join(theirs, 'plain');
    await writeFile(changed, 'other');
    expect(() => run('tar', ['--diff', '-C', theirs, '-f', file], /(?:)/)).toThrow(/be \+?0/);
  });

  it('has holes that GNU tar and bsdtar understand, wherever they begin', async () => {
    const expected = Buffer.alloc(3_000_001);
    const ranges = [3, 65_536, 66_000, 200_001, 2_097_152, 2_999_980].map((offset) => ({
      offset,
      length: expected.write(`at ${offset}`, offset),
    }));
    const plain = new DirectorySource(original);
    const root = await plain.root();
    const source: TreeSource = {
      root: async () => root,
      list: async function* () {
        yield { ...root, name: 'f', kind: 'file', size: expected.length };
      },
      xattrs: async () => [],
      open: async () => ({
        size: expected.length,
        read: async (into, offset) => expected.copy(into, 0, offset),
        dataRanges: async () => ranges,
        changedRanges: async () => undefined,
        close: async () => {},
      }),
    };
    const archive = join(scratch, 'holes.tar');
    await pipeline(exportTree(source, { format: 'tar' }).bytes, createWriteStream(archive));
    for (const program of ['tar', 'bsdtar']) {
      const theirs = join(scratch, program);
      await mkdir(theirs);
      run(program, ['-x', '-C', theirs, '-f', archive]);
      expect((await readFile(join(theirs, 'f'))).equals(expected), program).toBe(true);
    }
    const ours = (await seeTree(await imported(archive))).get('f');
    expect(ours?.content === expected.toString('latin1')).toBe(true);
  });

  it('is read by bsdtar and Python', async () => {
    const file = await exported('tar.zst');
    const theirs = join(scratch, 'theirs');
    await mkdir(theirs);
    run('bsdtar', ['-xp', '--xattrs', '--acls', '-C', theirs, '-f', file], /(?:)/);
    const ours = await seeTree(new DirectorySource(original));
    expect(forBsdtar(await seeTree(new DirectorySource(theirs)))).toEqual(forBsdtar(ours));
    const script = `import sys,tarfile
t=tarfile.open(sys.argv[1])
print(len(t.getmembers()), hash(t.extractfile('./noise').read()) and t.getmember('./noise').uid)`;
    expect(run('python3', ['-c', script, await exported('tar.gz')])).toBe(
      `${ours.size} 4000000000\n`,
    );
  });

  it('is the same every time', async () => {
    const bytes = async (source: TreeSource): Promise<Buffer> => {
      const parts: Uint8Array[] = [];
      for await (const part of exportTree(source, { format: 'tar' }).bytes) parts.push(part);
      return Buffer.concat(parts);
    };
    const carried = async (archive: Uint8Array): Promise<TreeSource> => {
      const fileSystem = new MemoryFileSystem();
      const options = { onAttributeProblem: fail };
      const sink = new VolumeSink(fileSystem, ROOT, options);
      await importTree(chunked(archive, 7_777), sink);
      return new VolumeSource(fileSystem, ROOT);
    };
    const volume = await carried(await bytes(new DirectorySource(original)));
    const first = await bytes(volume);
    expect((await bytes(volume)).equals(first)).toBe(true);
    expect((await bytes(await carried(first))).equals(first)).toBe(true);
  });

  it('takes memory for what is under way only', async () => {
    const from = join(scratch, 'large');
    await mkdir(from);
    await writeFile(join(from, 'end'), 'x');
    await truncate(join(from, 'end'), 10 * 2 ** 30);
    await writeFile(join(from, 'full'), Buffer.alloc(32 * 2 ** 20, 1));
    const { bytes } = exportTree(new DirectorySource(from), { format: 'tar' });
    let largest = 0;
    let total = 0;
    for await (const part of bytes) {
      largest = Math.max(largest, part.length);
      total += part.length;
    }
    expect(largest).toBeLessThanOrEqual(2 ** 20);
    expect(total).toBeLessThan(33 * 2 ** 20);
  });
});

/** bsdtar does not unescape names of attributes, nor agree with others on times before 1970. */
function forBsdtar(tree: Map<string, Seen>): Map<string, Seen> {
  return reduced(tree, (seen, path) => ({
    mtimeNs: path === '' || seen.mtimeNs < 0n ? 0n : seen.mtimeNs,
    xattrs: Object.fromEntries(Object.entries(seen.xattrs).filter(([name]) => !/[=%]/.test(name))),
  }));
}

async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe('a tar archive of another program', () => {
  /** Formats without PAX keep whole seconds, small no attributes. */
  const old = (tree: Map<string, Seen>): Map<string, Seen> =>
    reduced(tree, (seen) => ({ mtimeNs: wholeSeconds(seen.mtimeNs), xattrs: {} }));

  it.each([
    ['posix', []],
    ['posix', ['--sparse', '--sparse-version=1.0']],
    ['posix', ['--sparse', '--sparse-version=0.1']],
    ['posix', ['--sparse', '--sparse-version=0.0']],
  ])('of GNU tar in format %s %j comes in whole', async (format, options) => {
    const file = join(scratch, 'theirs.tar');
    run('tar', [
      '-c',
      `--format=${format}`,
      ...options,
      ...XATTRS,
      '-C',
      original,
      '-f',
      file,
      '.',
    ]);
    const ours = await seeTree(await imported(file));
    expect(ours).toEqual(await seeTree(new DirectorySource(original)));
  });

  it.each(['gnu', 'oldgnu'])('of GNU tar in format %s comes in', async (format) => {
    const file = join(scratch, 'theirs.tar');
    run('tar', ['-cS', `--format=${format}`, '-C', original, '-f', file, '.']);
    const ours = await imported(file);
    expect(await seeTree(ours)).toEqual(old(await seeTree(new DirectorySource(original))));
  });

  it.each(['ustar', 'v7'])('of GNU tar in format %s comes in', async (format) => {
    const plain = join(scratch, 'plain');
    run('cp', ['-a', join(original, 'deep'), plain]);
    const file = join(scratch, 'theirs.tar');
    run('tar', ['-c', `--format=${format}`, '--mtime=@1000', '-C', plain, '-f', file, '.']);
    const expected = reduced(await seeTree(new DirectorySource(plain)), () => ({
      mtimeNs: 1_000_000_000_000n,
      xattrs: {},
    }));
    expect(await seeTree(await imported(file))).toEqual(expected);
  });

  it.each(['pax', 'gnutar'])('of bsdtar in format %s comes in', async (format) => {
    const file = join(scratch, 'theirs.tar');
    run('bsdtar', ['-c', `--format=${format}`, '-C', original, '-f', file, '.'], /(?:)/);
    const expected = await seeTree(new DirectorySource(original));
    const ours = await seeTree(await imported(file));
    if (format === 'gnutar') expected.delete('disk'); // its number is too large for that format
    // Nor does the old format hold two of the times.
    const trimmed = (tree: Map<string, Seen>): Map<string, Seen> =>
      reduced(format === 'pax' ? tree : old(tree), (_, path) =>
        /leaf|empty|nothing/.test(path)
          ? NO_TIME
          : // In the place of the mask bsdtar has the rights of the group, and there no ACL beside it.
            format === 'gnutar' && path === 'noise'
            ? { mode: '' }
            : {},
      );
    expect(trimmed(forBsdtar(ours))).toEqual(trimmed(forBsdtar(expected)));
  });

  it('of Python comes in', async () => {
    const script = `import sys,tarfile
t=tarfile.open(sys.argv[1],'w:gz',format=tarfile.GNU_FORMAT); t.add(sys.argv[2],'.'); t.close()`;
    const file = join(scratch, 'theirs.tar.gz');
    run('python3', ['-c', script, file, original]);
    // Python rounds up before 1970, and takes no symbolic link for a hard one.
    const trimmed = (tree: Map<string, Seen>): Map<string, Seen> =>
      reduced(old(tree), ({ kind }, path) => ({
        ...(path.endsWith('leaf') ? NO_TIME : {}),
        ...(kind === 'symlink' ? { sameAs: '' } : {}),
      }));
    expect(trimmed(await seeTree(await imported(file)))).toEqual(
      trimmed(await seeTree(new DirectorySource(original))),
    );
  });

  it('in two compressed parts comes in', async () => {
    const file = await exported('tar');
    for (const pack of ['gzip', 'zstd']) {
      const half = 102_400;
      run('bash', [
        '-c',
        `(head -c ${half} ${file} | ${pack}; tail -c +${half + 1} ${file} | ${pack}) > ${file}.${pack}`,
      ]);
      expect(await seeTree(await imported(`${file}.${pack}`))).toEqual(
        await seeTree(new DirectorySource(original)),
      );
    }
  });
});

describe('a zip archive', () => {
  it('comes back with what zip can hold', async () => {
    const ours = await seeTree(await imported(await exported('zip')));
    const expected = asZip(await seeTree(new DirectorySource(original)));
    expect(reduced(asZip(ours), (seen) => seen)).toEqual(expected);
    expect(ours.get('deep/er')?.owner).toBe('0:0');
    expect(ours.get('noise')?.owner).toBe('4000000000:3000000000');
  });

  it('keeps holes out of the tree it comes back to', async () => {
    const source = await imported(await exported('zip'));
    const root = await source.root();
    for await (const entry of source.list('', root)) {
      if (entry.name !== 'all-hole') continue;
      const file = await source.open('all-hole', entry);
      expect(await file.dataRanges()).toEqual([]);
      await file.close();
    }
  });

  it('is tested and extracted by unzip, and read by Python', async () => {
    const file = await exported('zip');
    expect(run('unzip', ['-t', file])).toMatch(/No errors detected/);
    expect(run('zipinfo', ['-h', file])).toMatch(/number of entries: 23/);
    const theirs = join(scratch, 'theirs');
    await mkdir(theirs);
    run('unzip', ['-q', '-X', '-K', file, '-d', theirs]);
    const drop = ({ path, seen }: { path: string; seen: Seen }): Partial<Seen> | undefined =>
      // It shows a line end and a byte that is no UTF-8 in its own way.
      /new|bad/.test(path) ? undefined : { ...seen, ...(seen.kind === 'symlink' ? NO_TIME : {}) };
    const seen = asZip(await seeTree(new DirectorySource(theirs)), { keepsTimes: false });
    const expected = asZip(await seeTree(new DirectorySource(original)), { keepsTimes: false });
    expect(reduced(seen, (one, path) => drop({ path, seen: one }))).toEqual(
      reduced(expected, (one, path) => drop({ path, seen: one })),
    );
    const script = `import sys,zipfile
z=zipfile.ZipFile(sys.argv[1]); print(z.testzip(), len(z.namelist()))`;
    expect(run('python3', ['-c', script, file])).toBe('None 23\n');
  });

  it('of Info-ZIP and of Python comes in', async () => {
    const theirs = join(scratch, 'theirs.zip');
    const plain = join(scratch, 'plain');
    run('cp', ['-a', original, plain]);
    run('bash', ['-c', `cd ${plain} && rm pipe zero disk && zip -qry ${theirs} .`]);
    const expected = asZip(await seeTree(new DirectorySource(original)));
    expect(asZip(await seeTree(await imported(theirs)))).toEqual(expected);
    const script = `import sys,zipfile
z=zipfile.ZipFile(sys.argv[1],'w',zipfile.ZIP_DEFLATED)
z.write(sys.argv[2]+'/noise','n'); z.writestr('d/späte','x'); z.close()`;
    const python = join(scratch, 'python.zip');
    run('python3', ['-c', script, python, original]);
    const tree = await seeTree(await imported(python));
    expect([...tree.keys()]).toEqual(['', 'd', 'd/sp\u00c3\u00a4te', 'n']);
    expect(tree.get('n')?.content).toBe(expected.get('noise')?.content);
  });

  it('of more than 65,535 entries is zip64', async () => {
    const plain = new DirectorySource(original);
    const root = await plain.root();
    const many: TreeSource = {
      root: async () => root,
      list: async function* (path) {
        for (let at = 0; at < (path === '' ? 66_000 : 0); at++) yield { ...root, name: `d${at}` };
      },
      xattrs: async () => [],
      open: (path, entry) => plain.open(path, entry),
    };
    const file = join(scratch, 'many.zip');
    await pipeline(exportTree(many, { format: 'zip' }).bytes, createWriteStream(file));
    expect(run('zipinfo', ['-h', file])).toMatch(/number of entries: 66000/);
    const script = `import sys,zipfile
z=zipfile.ZipFile(sys.argv[1]); print(len(z.namelist()), z.namelist()[-1])`;
    expect(run('python3', ['-c', script, file])).toBe('66000 d9999/\n');
  });
});

/** Entries for a tree of few names, so that they meet. */
const names = fc.constantFrom('a', 'b', 'ä\n', 'x'.repeat(120), '.b', ' ', '=%');
const entries = fc.array(
  fc.record({
    path: fc.array(names, { minLength: 1, maxLength: 4 }),
    kind: fc.constantFrom('file', 'directory', 'symlink', 'fifo', 'link', 'char'),
    content: fc.array(
      fc.record({ offset: fc.nat(300_000), bytes: fc.uint8Array({ maxLength: 2_000 }) }),
      { maxLength: 3 },
    ),
    tail: fc.nat(70_000),
    mode: fc.nat(0o7777),
    id: fc.constantFrom(0, 1_000, 2_097_152, 4_294_967_294),
    mtimeNs: fc.bigInt({ min: -(10n ** 18n), max: 4n * 10n ** 19n }),
    xattr: fc.option(fc.tuple(fc.constantFrom('user.a', 'user.=%'), fc.uint8Array()), {
      nil: undefined,
    }),
    target: fc.constantFrom('a', '/etc', '../..', 'ü'.repeat(200)),
  }),
  { maxLength: 25 },
);

type Plan = typeof entries extends fc.Arbitrary<infer List> ? List : never;

/** Makes what a plan says as far as it can be made. */
async function carryOut(plan: Plan, fileSystem: MemoryFileSystem): Promise<void> {
  const sink = new VolumeSink(fileSystem, ROOT);
  const top = await sink.root();
  const files: (readonly string[])[] = [];
  for (const step of plan) {
    const path = step.path.map((name) => Buffer.from(name).toString('latin1'));
    try {
      let parent = top;
      for (const name of path.slice(0, -1)) {
        const next = await parent.enter(name);
        parent = next ?? (await parent.directory(entryOf(step, name, 'directory')));
      }
      const name = path.at(-1)!;
      if (step.kind === 'link')
        await parent.link({ name }, files[step.tail % files.length] ?? ['-']);
      else if (step.kind === 'directory') {
        const made = entryOf(step, name, 'directory');
        await (await parent.directory(made)).finish(made);
      } else if (step.kind === 'file') {
        const ends = step.content.map(({ offset, bytes }) => offset + bytes.length);
        const size = Math.max(0, ...ends) + (step.tail % 3 === 0 ? step.tail : 0);
        const file = await parent.file({ ...entryOf(step, name, 'file'), size }, { fresh: true });
        for (const { offset, bytes } of step.content) await file?.write(bytes, offset);
        await file?.finish();
        files.push(path);
      } else await parent.special(entryOf(step, name, step.kind));
    } catch (error) {
      // The plan wants what cannot be: a file below a file, a link to what has gone.
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
}

function entryOf(step: Plan[number], name: string, kind: SinkEntry['kind']): SinkEntry {
  const { mode, id, mtimeNs, target, xattr } = step;
  const xattrs =
    xattr === undefined || kind === 'symlink' ? [] : [{ name: xattr[0], value: xattr[1] }];
  return {
    name,
    kind,
    mode: kind === 'symlink' ? 0o777 : mode,
    uid: id,
    gid: id,
    mtimeNs,
    atimeNs: mtimeNs + 1n,
    size: 0,
    rdev: kind === 'char' ? BigInt(mode) : 0n,
    target: kind === 'symlink' ? Buffer.from(target).toString('latin1') : '',
    xattrs,
  };
}

/** A link to what was a file, and is by then the directory that the link is in. */
const LINK_TO_DIRECTORY = ['file a', 'directory a', 'link a/.b'].map((step) => {
  const [kind, path = ''] = step.split(' ');
  const plain = { content: [], tail: 0, mode: 0o755, id: 0, mtimeNs: 5n, target: 'a' };
  return { ...plain, kind, path: path.split('/'), xattr: undefined } as Plan[number];
});

describe('any tree', () => {
  it('is the same after it went through a tar archive, whatever the chunks', async () => {
    const property = fc.asyncProperty(
      entries,
      fc.integer({ min: 1, max: 5_000 }),
      async (plan, size) => {
        const [before, after] = [new MemoryFileSystem(), new MemoryFileSystem()];
        await carryOut(plan, before);
        const { bytes } = exportTree(new VolumeSource(before, ROOT), { format: 'tar.gz' });
        const sink = new VolumeSink(after, ROOT, {
          onAttributeProblem: fail,
        });
        const rechunked = async function* (): AsyncGenerator<Uint8Array> {
          for await (const part of bytes) yield* chunked(part, size);
        };
        await importTree(rechunked(), sink);
        const [was, is] = [new VolumeSource(before, ROOT), new VolumeSource(after, ROOT)];
        expect(await seeTree(is)).toEqual(await seeTree(was));
        expect([before.opens, after.opens]).toEqual([0, 0]);
      },
    );
    await fc.assert(property, { numRuns: 60, examples: [[LINK_TO_DIRECTORY, 100]] });
  });
});
