import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { DirectorySink, DirectorySource, DrySink } from '@holdfast/tree';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ImportOptions, importTree } from './import.ts';
import { BLOCK, encodeHeader, paddingOf, type TarHeader } from './tar/header.ts';
import { encodePax } from './tar/pax.ts';
import { centralHeader, endRecords, localHeader, type ZipEntry } from './zip/records.ts';

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-hostile-'));
  await mkdir(join(scratch, 'outside'));
});
afterEach(async () => {
  await remove(scratch);
});

/** Removes a tree, whatever modes an archive gave its directories. */
async function remove(tree: string): Promise<void> {
  if (process.getuid?.() !== 0) spawnSync('chmod', ['-R', 'u+rwx', tree]);
  await rm(tree, { recursive: true, force: true });
}

async function* chunked(bytes: Uint8Array, size = 1_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Imports into `scratch/tree`; nothing may appear beside it. */
async function importInto(bytes: Uint8Array, options: ImportOptions = {}): Promise<string[]> {
  const tree = join(scratch, 'tree');
  await remove(tree);
  try {
    await importTree(chunked(bytes), new DirectorySink(tree), options);
  } finally {
    expect(await readdir(join(scratch, 'outside'))).toEqual([]);
    expect((await readdir(scratch)).filter((name) => name !== 'tree')).toEqual(['outside']);
  }
  return (await readdir(tree)).sort();
}

interface Made extends Partial<TarHeader> {
  readonly name: string;
  readonly content?: Uint8Array | string;
  readonly pax?: Record<string, string>;
}

function block(made: Made): Buffer {
  const content = Buffer.from(made.content ?? '');
  const defaults = { mode: 0o644, uid: 0, gid: 0, mtime: 0, type: '0', linkName: '' };
  const header = { ...defaults, major: 0, minor: 0, size: content.length, ...made };
  const parts = [encodeHeader(header), content, Buffer.alloc(paddingOf(content.length))];
  if (made.pax !== undefined) {
    const content = encodePax(new Map(Object.entries(made.pax)));
    parts.unshift(block({ name: 'pax', type: 'x', content }));
  }
  return Buffer.concat(parts);
}

const END = Buffer.alloc(2 * BLOCK);

function tar(...entries: Made[]): Buffer {
  return Buffer.concat([...entries.map(block), END]);
}

describe('a hostile tar archive', () => {
  const link = (name: string, linkName: string): Made => ({ name, type: '2', linkName });
  const hard = (name: string, linkName: string): Made => ({ name, type: '1', linkName });
  const file = (name: string): Made => ({ name, content: 'evil' });

  it.each<[string, Made[], RegExp]>([
    ['a name that leads up', [file('../outside/evil')], /leads out/],
    ['a name that leads up later', [file('a/b/../../../outside/evil')], /leads out/],
    ['only dots', [{ name: '..', type: '5' }], /leads out/],
    ['an absolute name', [file('/outside/evil')], /absolute/],
    ['an absolute name in PAX', [{ ...file('a'), pax: { path: '/outside/evil' } }], /absolute/],
    ['a zero byte', [{ ...file('a'), pax: { path: 'a\0b' } }], /zero byte/],
    ['an endless name', [{ ...file('a'), pax: { path: 'n'.repeat(256) } }], /255/],
    ['an endless path', [{ ...file('a'), pax: { path: 'n/'.repeat(40_000) } }], /path of 80000/],
    ['a deep path', [{ ...file('a'), pax: { path: 'n/'.repeat(5_000) } }], /5000 directories deep/],
    ['a file through a link', [link('way', '../outside'), file('way/evil')], /symbolic link/],
    [
      'a file through a deep link',
      [link('a/way', '../../outside'), file('a/way/x')],
      /symbolic link/,
    ],
    [
      'a directory through a link',
      [link('way', '../outside'), { name: 'way/evil', type: '5' }],
      /symbolic link/,
    ],
    ['a file below a file', [file('f'), file('f/evil')], /symbolic link or a file/],
    ['a hard link that leads up', [hard('h', '../outside')], /leads out/],
    ['an absolute hard link', [hard('h', '/etc/passwd')], /absolute/],
    ['a hard link through a link', [link('way', '/etc'), hard('h', 'way/passwd')], /symbolic link/],
    ['a hard link to nothing', [hard('h', 'missing')], /does not come before/],
    ['a hard link to the root', [hard('h', '.')], /hard link to the root/],
    ['a hard link to a directory', [{ name: 'd', type: '5' }, hard('h', 'd')], /to a directory/],
    [
      'a file in place of a directory',
      [{ name: 'd', type: '5' }, file('d')],
      /replace a directory/,
    ],
    ['a file as the root', [file('.')], /root/],
    ['an unknown type', [{ name: 'a', type: 'Q' }], /unknown type/],
    ['a part of several', [{ name: 'a', type: 'M' }], /several volumes/],
    ['a negative size', [{ name: 'a', pax: { size: '-1' } }], /no number/],
    ['a size beyond counting', [{ name: 'a', pax: { size: '99999999999999999' } }], /no number/],
    ['a wrong time', [{ name: 'a', pax: { mtime: 'noon' } }], /wrong time/],
    ['an owner out of range', [{ name: 'a', pax: { uid: '4294967295' } }], /owner/],
    [
      'stretches that overlap',
      [{ name: 'a', content: 'xy', pax: { 'GNU.sparse.size': '9', 'GNU.sparse.map': '0,1,0,1' } }],
      /overlap/,
    ],
    [
      'stretches outside',
      [{ name: 'a', content: 'x', pax: { 'GNU.sparse.size': '1', 'GNU.sparse.map': '5,1' } }],
      /outside/,
    ],
    [
      'stretches of more than there is',
      [{ name: 'a', content: 'x', pax: { 'GNU.sparse.size': '9', 'GNU.sparse.map': '0,5' } }],
      /add up/,
    ],
    [
      'a malformed PAX header',
      [{ name: 'p', type: 'x', content: '99 path=x\n' }, file('a')],
      /PAX/,
    ],
    ['a header of nothing', [{ name: 'p', type: 'L', content: 'name' }], /does not follow/],
  ])('with %s is refused', async (_, entries, text) => {
    const refusal = {
      name: 'HoldfastError',
      code: 'CORRUPT',
      message: expect.stringMatching(text),
    };
    await expect(importInto(tar(file('before'), ...entries))).rejects.toMatchObject(refusal);
  });

  it('is refused however it is cut off', async () => {
    const whole = tar(file('a'), { name: 'b', content: Buffer.alloc(3_000, 7) });
    const cut = fc.integer({ min: 0, max: whole.length - 2 * BLOCK });
    await fc.assert(
      fc.asyncProperty(cut, async (length) => {
        const code = { code: 'CORRUPT' };
        await expect(importInto(whole.subarray(0, length))).rejects.toMatchObject(code);
      }),
      { numRuns: 60 },
    );
  });

  it('is refused without its end mark, though whole as far as it goes', async () => {
    const whole = tar(file('a'), file('b'));
    const refusal = { code: 'CORRUPT', message: expect.stringMatching(/no end mark/) };
    for (const length of [1_024, 2_048])
      await expect(importInto(whole.subarray(0, length))).rejects.toMatchObject(refusal);
    expect(await importInto(whole.subarray(0, 2_560))).toEqual(['a', 'b']);
  });

  it.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ] as const)('packed with %s is refused however it is cut off', async (_, pack) => {
    const packed = pack(tar(file('a'), { name: 'b', content: Buffer.from(noise(40_000)) }));
    expect(await importInto(packed)).toEqual(['a', 'b']);
    for (const length of [5, 100, packed.length >> 1, packed.length - 1]) {
      const refusal = { code: 'CORRUPT' };
      await expect(importInto(packed.subarray(0, length))).rejects.toMatchObject(refusal);
    }
  });

  it('is checked by what packed it', async () => {
    const packed = gzipSync(tar({ name: 'b', content: noise(40_000) }));
    packed.writeUInt8(packed[2_000]! ^ 0x10, 2_000);
    await expect(importInto(packed)).rejects.toMatchObject({ code: 'CORRUPT' });
  });

  it('of random bytes ends with one of our errors, and writes nothing outside', async () => {
    const whole = tar(
      { name: 'd/', type: '5' },
      { ...file('d/f'), pax: { path: 'd/g', 'SCHILY.xattr.user.a': 'b' } },
      { name: 's', content: 'xy', pax: { 'GNU.sparse.size': '9', 'GNU.sparse.map': '0,1,5,1' } },
      { name: 'h', type: '1', linkName: 'd/g' },
    );
    const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(flips, fc.boolean(), async (list, mends) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of list) bytes[at] = value;
        if (mends) mendChecksums(bytes);
        const failure = await importInto(bytes).then(
          () => 'none',
          (error: unknown) => (error instanceof Error ? error.name : error),
        );
        expect(failure).toMatch(/^(none|HoldfastError)$/);
      }),
      { numRuns: 150 },
    );
  });

  it('that is larger than allowed is refused', async () => {
    const zeros = { name: 'zeros', content: Buffer.alloc(32 * 1024 * 1024) };
    const bomb = gzipSync(tar(zeros), { level: 1 });
    const refusal = { code: 'TOO_LARGE' };
    const limited = (limits: ImportOptions['limits']): Promise<unknown> =>
      importInto(bomb, limits === undefined ? {} : { limits });
    await expect(limited({ ratioMax: 20 })).rejects.toMatchObject(refusal);
    await expect(limited({ bytesMax: 1_000_000 })).rejects.toMatchObject(refusal);
    await expect(
      importInto(tar(file('a'), file('b'), file('c')), { limits: { entriesMax: 2 } }),
    ).rejects.toMatchObject(refusal);
    expect(await limited({ ratioMax: 2_000 })).toEqual(['zeros']);
  });

  it('that is a bomb is refused when nobody gives a limit', async () => {
    const frame = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
    const size = 5 * 64 * 1024 * 1024;
    const head = { mode: 0o644, uid: 0, gid: 0, mtime: 0, type: '0', linkName: '', size };
    const header = encodeHeader({ ...head, name: 'zeros', major: 0, minor: 0 });
    const end = zstdCompressSync(Buffer.alloc(2 * BLOCK));
    const frames = Array.from({ length: 5 }, () => frame);
    const bomb = Buffer.concat([zstdCompressSync(header), ...frames, end]);
    const refused = importTree(chunked(bomb, bomb.length), new DrySink(undefined));
    await expect(refused).rejects.toMatchObject({
      code: 'TOO_LARGE',
      message: expect.stringMatching(/--max-ratio/),
    });
  });

  it('keeps links that lead out as they are, and never follows them', async () => {
    expect(await importInto(tar(link('out', '/etc'), link('up', '../outside')))).toEqual([
      'out',
      'up',
    ]);
  });

  it('is told apart from what is no archive', async () => {
    const text = Buffer.alloc(2_000, 'just text ');
    await expect(importInto(text)).rejects.toThrow(/no archive/);
    await expect(importInto(Buffer.alloc(0))).rejects.toThrow(/empty/);
    await expect(importInto(Buffer.from('fd377a585a0000', 'hex'))).rejects.toThrow(/xz -dc/);
    expect(await importInto(tar())).toEqual([]);
  });

  it('may hold a name twice: the last one counts', async () => {
    const first = { name: 'a', content: 'one' };
    await importInto(tar(first, link('b', 'x'), { name: 'a', content: 'two' }, file('b')));
    const source = new DirectorySource(join(scratch, 'tree'));
    const sizes: Record<string, string> = {};
    for await (const entry of source.list('')) {
      const open = await source.open(entry.name, entry);
      const bytes = Buffer.alloc(open.size);
      await open.read(bytes, 0);
      await open.close();
      sizes[entry.name] = bytes.toString();
    }
    expect(sizes).toEqual({ a: 'two', b: 'evil' });
  });
});

/** Makes the checksum of every block right that might be a header. */
function mendChecksums(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at += BLOCK) {
    if (bytes.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    bytes.fill(' ', at + 148, at + 156);
    const sum = bytes.subarray(at, at + BLOCK).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
}

function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0, state = 1; at < length; at++) {
    state = (state * 48_271) % 2_147_483_647;
    bytes[at] = state;
  }
  return bytes;
}

interface Zipped {
  readonly name: string;
  readonly content?: string;
  readonly mode?: number;
  /** Name in the local header, when it is another. */
  readonly localName?: string;
  readonly crc?: number;
  readonly plain?: number;
  readonly flags?: number;
  readonly method?: number;
  /** Offset of the local header, when it is another's. */
  readonly offset?: number;
}

function zip(...entries: Zipped[]): Buffer {
  const parts: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const made of entries) {
    const content = Buffer.from(made.content ?? 'evil');
    const packed = deflateRawSync(content);
    const sizes = {
      crc: made.crc ?? crc32(content),
      packed: packed.length,
      plain: made.plain ?? content.length,
    };
    const entry: ZipEntry = {
      name: Buffer.from(made.name, 'latin1'),
      flags: made.flags ?? 0,
      method: made.method ?? 8,
      mode: made.mode ?? 0o100644,
      isDirectory: false,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      atimeNs: 0n,
      offset: made.offset ?? offset,
      isWide: false,
    };
    const local = localHeader({ ...entry, name: Buffer.from(made.localName ?? made.name) }, sizes);
    if (made.offset === undefined) {
      parts.push(local, packed);
      offset += local.length + packed.length;
    }
    central.push(centralHeader(entry, sizes));
  }
  const directory = Buffer.concat(central);
  const end = endRecords({ count: entries.length, offset, length: directory.length });
  return Buffer.concat([...parts, directory, end]);
}

describe('a hostile zip archive', () => {
  it.each<[string, Zipped[], RegExp]>([
    ['a name that leads up', [{ name: '../outside/evil' }], /leads out/],
    ['an absolute name', [{ name: '/outside/evil' }], /absolute/],
    [
      'a file through a link',
      [{ name: 'way', content: '../outside', mode: 0o120777 }, { name: 'way/evil' }],
      /symbolic link/,
    ],
    ['two names for one file', [{ name: 'a', localName: 'b' }], /different files/],
    ['a wrong checksum', [{ name: 'a', crc: 1 }], /checksum/],
    ['more content than it says', [{ name: 'a', plain: 2 }], /damaged/],
    ['less content than it says', [{ name: 'a', plain: 9 }], /damaged/],
    [
      'entries over each other',
      [
        { name: 'a', content: Buffer.from(noise(3_000)).toString('latin1') },
        ...Array.from({ length: 9 }, () => ({
          name: 'a',
          offset: 0,
          content: Buffer.from(noise(3_000)).toString('latin1'),
        })),
      ],
      /over others/,
    ],
    ['a device', [{ name: 'a', mode: 0o060644 }], /device/],
    [
      'a link without end',
      [{ name: 'a', mode: 0o120777, content: 'x'.repeat(5_000) }],
      /5000 bytes/,
    ],
  ])('with %s is refused', async (_, entries, text) => {
    const refusal = {
      name: 'HoldfastError',
      code: 'CORRUPT',
      message: expect.stringMatching(text),
    };
    await expect(importInto(zip(...entries))).rejects.toMatchObject(refusal);
  });

  it('that is encrypted or packed in an unknown way is refused', async () => {
    const refusal = { code: 'ENOTSUP' };
    await expect(importInto(zip({ name: 'a', flags: 1 }))).rejects.toMatchObject(refusal);
    await expect(importInto(zip({ name: 'a', method: 12 }))).rejects.toMatchObject(refusal);
  });

  it('is refused however it is cut off', async () => {
    const whole = zip({ name: 'a' }, { name: 'b', content: 'x'.repeat(900) });
    for (let length = 4; length < whole.length; length += 7)
      await expect(importInto(whole.subarray(0, length))).rejects.toMatchObject({
        code: 'CORRUPT',
      });
  });

  it('that is larger than allowed is refused', async () => {
    const bomb = zip({ name: 'zeros', content: '\0'.repeat(32 * 1024 * 1024) });
    const limits = { ratioMax: 20 };
    await expect(importInto(bomb, { limits })).rejects.toMatchObject({ code: 'TOO_LARGE' });
  });

  it('of random bytes ends with one of our errors, and writes nothing outside', async () => {
    const whole = zip({ name: 'd/f' }, { name: 'way', content: '../outside', mode: 0o120777 });
    const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(flips, async (list) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of list) bytes[at] = value;
        const failure = await importInto(bytes).then(
          () => 'none',
          (error: unknown) => (error instanceof Error ? error.name : error),
        );
        expect(failure).toMatch(/^(none|HoldfastError)$/);
      }),
      { numRuns: 100 },
    );
  });
});

describe('an import that is stopped', () => {
  it('stops with the reason of the signal, and nothing writes afterwards', async () => {
    const stop = new AbortController();
    const many = tar(...Array.from({ length: 50 }, (_, at) => ({ name: `f${at}`, content: 'x' })));
    const onProgress = ({ entries }: { entries: number }): void => {
      if (entries === 20) stop.abort(new Error('stopped'));
    };
    const options = { signal: stop.signal, onProgress };
    await expect(importInto(many, options)).rejects.toThrow('stopped');
    const there = await readdir(join(scratch, 'tree'));
    expect(there.length).toBeLessThanOrEqual(20);
  });
});
