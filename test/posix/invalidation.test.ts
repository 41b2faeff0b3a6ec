import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import type { RequestContext } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Mounted } from './support/mounted.ts';
import { Probe } from './support/probe.ts';

/** Longer than a test: what is seen anew was invalidated, and did not expire. */
const VALID_MS = 6_000;

describe('what the kernel was told to believe', () => {
  let mounted: Mounted;
  let request = 1;
  beforeEach(async () => {
    mounted = await Mounted.start();
    mounted.fileSystem.validMs = VALID_MS;
    await fs.writeFile(mounted.path('f'), 'old');
    await fs.mkdir(mounted.path('d'));
    await fs.writeFile(mounted.path('d', 'g'), 'g');
    await fs.stat(mounted.path('f'));
    await fs.stat(mounted.path('d', 'g'));
  });
  afterEach(async () => {
    await mounted?.close();
  });

  /** A change by another host: the kernel here knows nothing of it. */
  function context(): RequestContext {
    request += 2;
    return { uid: 0, gid: 0, pid: 0, requestId: 2 ** 40 + request };
  }
  const volume = () =>
    mounted.fileSystem.lookup({ volume: 0, ino: 1 } as never, 'v').then(({ node }) => node);
  const size = async () => (await fs.stat(mounted.path('f'))).size;

  it('stands for the time that the answer gave', async () => {
    const { node } = await mounted.fileSystem.lookup(await volume(), 'f');
    await mounted.fileSystem.setAttributes(node, { size: 100 }, context());
    expect(await size()).toBe(3);
  });

  it('is dropped for an inode', async () => {
    const { node } = await mounted.fileSystem.lookup(await volume(), 'f');
    await mounted.fileSystem.setAttributes(node, { size: 100 }, context());
    await mounted.fileSystem.invalidate({ what: 'inode', node });
    expect(await size()).toBe(100);
  });

  it('is dropped for a name', async () => {
    const parent = await volume();
    await mounted.fileSystem.rename(
      { parent, name: 'f' },
      { parent, name: 'h' },
      'replace',
      context(),
    );
    expect(await size()).toBe(3);
    await mounted.fileSystem.invalidate({ what: 'entry', parent, name: 'f' });
    await expect(size()).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await fs.readFile(mounted.path('h'), 'utf8')).toBe('old');
  });

  it('is dropped for the name to which this host moved an entry', async () => {
    const parent = await volume();
    const probe = new Probe();
    try {
      // So that the file lives on without a name, and still has attributes.
      await probe.call('open', mounted.path('f'), constants.O_RDONLY);
      await fs.rename(mounted.path('f'), mounted.path('moved'));
      await mounted.fileSystem.unlink(parent, 'moved', context());
      await mounted.fileSystem.invalidate({ what: 'volume', volume: parent.volume });
      await expect(fs.access(mounted.path('moved'))).rejects.toMatchObject({ code: 'ENOENT' });
    } finally {
      await probe.close();
    }
  });

  it('is dropped for a whole volume, open files too', async () => {
    const parent = await volume();
    const open = await fs.open(mounted.path('f'));
    const { node } = await mounted.fileSystem.lookup(parent, 'f');
    await mounted.fileSystem.setAttributes(node, { size: 100 }, context());
    await mounted.fileSystem.rename(
      { parent, name: 'd' },
      { parent, name: 'e' },
      'replace',
      context(),
    );
    await mounted.fileSystem.invalidate({ what: 'volume', volume: parent.volume });
    expect((await open.stat()).size).toBe(100);
    await expect(fs.stat(mounted.path('d', 'g'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await fs.readdir(mounted.path('e'))).toEqual(['g']);
    await open.close();
  });

  it('can be dropped while its file is being written, without a deadlock', async () => {
    const { node } = await mounted.fileSystem.lookup(await volume(), 'f');
    const bytes = Buffer.alloc(100_000, 1);
    let isWriting = true;
    const writing = (async () => {
      for (let round = 0; round < 100; round += 1) await fs.writeFile(mounted.path('f'), bytes);
      isWriting = false;
    })();
    while (isWriting) {
      await mounted.fileSystem.invalidate({ what: 'inode', node });
      await mounted.fileSystem.invalidate({ what: 'volume', volume: node.volume });
    }
    await writing;
    expect(Buffer.compare(await fs.readFile(mounted.path('f')), bytes)).toBe(0);
  });
});

describe('pages of a mapped file', () => {
  let mounted: Mounted;
  let probe: Probe;
  let fd: number;
  let map: number;
  let requests = 1;
  beforeEach(async () => {
    mounted = await Mounted.start();
    probe = new Probe();
    await fs.writeFile(mounted.path('f'), 'a'.repeat(4096));
    fd = await probe.call('open', mounted.path('f'), constants.O_RDWR);
    map = await probe.call('mmap', fd, 4096);
  });
  afterEach(async () => {
    await probe?.close();
    await mounted?.close();
  });

  const first = async () => Buffer.from(await probe.call('mapped', map, 1)).toString();
  /** As another host would: the kernel here is not told. */
  async function writeElsewhere(letter: string): Promise<void> {
    requests += 2;
    const context = { uid: 0, gid: 0, pid: 0, requestId: 2 ** 40 + requests };
    const volume = await mounted.fileSystem.lookup({ volume: 0, ino: 1 } as never, 'v');
    const { node } = await mounted.fileSystem.lookup(volume.node, 'f');
    const options = { append: false, killPrivileges: false };
    await mounted.fileSystem.write(node, 0, Buffer.from(letter), options, context);
  }

  it.each([
    ['a lock', () => probe.call('lock', fd, 'set', 'write', 0, 0)],
    ['a flock', () => probe.call('flock', fd, 2)],
    ['msync', () => probe.call('msync', map)],
    ['fsync', () => probe.call('fsync', fd)],
    ['an open', () => probe.call('open', mounted.path('f'), constants.O_RDONLY)],
  ] as const)('that nobody protects are read anew after %s', async (_, act) => {
    mounted.fileSystem.believed = false;
    expect(await first()).toBe('a');
    await writeElsewhere('b');
    await act();
    expect(await first()).toBe('b');
  });

  it('that nobody protects are read anew after a while', async () => {
    mounted.fileSystem.believed = false;
    expect(await first()).toBe('a');
    await writeElsewhere('b');
    await expect.poll(first, { timeout: 60_000, interval: 50 }).toBe('b');
  });

  it('stay when somebody would tell of a change', async () => {
    expect(await first()).toBe('a');
    await writeElsewhere('b');
    await probe.call('lock', fd, 'set', 'write', 0, 0);
    expect(await first()).toBe('a');
  });
});
