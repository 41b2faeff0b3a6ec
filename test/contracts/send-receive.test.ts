import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HoldfastError, NodeReference } from '@holdfast/protocol';
import {
  applyStream,
  changeFrames,
  decodeStream,
  encodeStream,
  type Frame,
  fullFrames,
  noCounts,
  type StreamPosition,
} from '@holdfast/transfer';
import { DirectorySource, VolumeSink } from '@holdfast/tree';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CONTEXT, ROOT } from '../../packages/client/src/file-system/snapshots/test-world.ts';
import { makeSampleTree } from '../trees/sample-tree.ts';
import {
  BASED,
  fail,
  HEADER,
  placeOf,
  Receiver,
  Sender,
  same,
  sendChange,
  sendWhole,
} from '../trees/sent-volumes.ts';
import { copyTree, seeTree } from '../trees/whole-tree.ts';

const MIB = 2 ** 20;
describe('a sent snapshot', () => {
  let scratch: string;
  beforeEach(async (context) => {
    context.skip(process.getuid?.() !== 0, 'owners and devices are made by root only');
    scratch = await mkdtemp(join(tmpdir(), 'holdfast-send-'));
  });
  afterEach(async () => {
    await rm(scratch, { recursive: true, force: true });
  });

  it('arrives with everything that it was sent with', async () => {
    makeSampleTree(scratch);
    const [sender, receiver] = [new Sender(), new Receiver()];
    const sink = new VolumeSink(sender.world.fileSystem, ROOT, { onAttributeProblem: fail });
    await copyTree(new DirectorySource(scratch), sink);
    sender.take('there');
    await sendWhole(sender, 'there', receiver);
    await same(sender, 'there', receiver);
    expect(await seeTree(receiver.source())).toEqual(await seeTree(new DirectorySource(scratch)));
    expect((await rangesOf(receiver, 'holes')).length).toBe(2);
  });
});

describe('a stream that was cut off', () => {
  const frames = async (sender: Sender, resume?: StreamPosition): Promise<Frame[]> => {
    const header = { ...HEADER, ...(resume !== undefined && { resume }) };
    const all: Frame[] = [];
    for await (const frame of fullFrames(await sender.at('there'), header)) all.push(frame);
    return all;
  };
  const bytesIn = (all: readonly Frame[]): number =>
    all.reduce((sum, frame) => sum + (frame.frame === 'data' ? frame.bytes.length : 0), 0);
  async function* some(all: readonly Frame[]): AsyncGenerator<Frame> {
    yield* all;
  }

  /** Takes the first frames of a stream; answers how far it then was for certain. */
  const takePart = async (
    receiver: Receiver,
    part: readonly Frame[],
  ): Promise<StreamPosition | undefined> => {
    let position: StreamPosition | undefined;
    const note = async (at: StreamPosition): Promise<void> => {
      position = at;
    };
    const { fileSystem } = receiver.world;
    const checkpoint = { bytes: 1, note };
    const target = { fileSystem, root: ROOT, checkpoint, onAttributeProblem: fail };
    const cut = async function* (): AsyncGenerator<Frame> {
      yield* part;
      throw new Error('cut off'); // what is gathered and not written is lost
    };
    await expect(applyStream(target, cut())).rejects.toThrow('cut off');
    return position;
  };

  it('goes on from what was stored, wherever it was cut, and sends no byte of that again', async (context) => {
    context.skip(process.getuid?.() !== 0, 'owners and devices are made by root only');
    const scratch = await mkdtemp(join(tmpdir(), 'holdfast-cut-'));
    try {
      makeSampleTree(scratch);
      const sender = new Sender();
      const sink = new VolumeSink(sender.world.fileSystem, ROOT, { onAttributeProblem: fail });
      await copyTree(new DirectorySource(scratch), sink);
      await sender.world.file('large', randomBytes((5 * MIB) / 2));
      const sparse = await sender.world.file('sparse', randomBytes(3 * MIB));
      const hole = { mode: 'punch', keepSize: true, offset: MIB / 2, length: 2 * MIB } as const;
      await sender.world.fileSystem.allocate(sparse, hole, CONTEXT);
      sender.take('there');
      const whole = await frames(sender);
      const behindData = [...whole.keys()].filter((at) => whole[at - 1]?.frame === 'data');
      const elsewhere = [...whole.keys()].filter((at) => at % 29 === 0);
      const cuts = [...behindData.filter((_, nth) => nth % 3 === 0), ...elsewhere];
      let resumed = 0;
      for (const cut of cuts) {
        const receiver = new Receiver();
        const part = whole.slice(0, cut);
        const position = await takePart(receiver, part);
        if (position === undefined) continue;
        const rest = await frames(sender, position);
        expect(bytesIn(part) + bytesIn(rest), `cut at ${cut}`).toBe(bytesIn(whole));
        const goOn = { isResumed: true, onAttributeProblem: fail };
        const { fileSystem } = receiver.world;
        const bytes = encodeStream(some(rest), noCounts(), true);
        await applyStream({ fileSystem, root: ROOT, ...goOn }, decodeStream(bytes));
        await same(sender, 'there', receiver);
        resumed += 1;
      }
      expect(resumed).toBeGreaterThan(5);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  });

  it('is not taken for one that begins at the beginning, nor the other way round', async () => {
    const sender = new Sender();
    await sender.world.file('f', Buffer.from('bytes'));
    sender.take('there');
    const all = await frames(sender, { inodes: 1, offset: 0 });
    for (const [given, isResumed] of [
      [all, false],
      [await frames(sender), true],
    ] as const) {
      const stream = encodeStream(some(given), noCounts(), isResumed);
      await expect(new Receiver().take(stream, false)).rejects.toMatchObject({ code: 'CORRUPT' });
    }
  });
});

describe('a change of what is hard to tell', () => {
  let sender: Sender;
  let receiver: Receiver;
  const make = async (path: string, kind: 'file' | 'directory'): Promise<NodeReference> => {
    const { parent, name } = await placeOf(sender.world, path);
    const options = { kind, mode: 0o755, rdev: 0, target: '', exclusive: true };
    return (await sender.world.fileSystem.create(parent, name, options, CONTEXT)).node;
  };
  const move = async (
    from: string,
    to: string,
    flag: 'replace' | 'exchange' = 'replace',
  ): Promise<void> => {
    const [one, two] = [await placeOf(sender.world, from), await placeOf(sender.world, to)];
    await sender.world.fileSystem.rename(one, two, flag, CONTEXT);
  };
  const sent = async (): Promise<void> => {
    sender.take('a');
    await sendWhole(sender, 'a', receiver);
  };
  const arrives = async (): Promise<void> => {
    sender.take('b');
    await sendChange(sender, ['a', 'b'], receiver);
    await same(sender, 'b', receiver);
  };
  beforeEach(() => {
    [sender, receiver] = [new Sender(), new Receiver()];
  });

  it('arrives for holes in the middle, at the end, and beyond an end that was moved', async () => {
    const { world } = sender;
    const nodes: NodeReference[] = [];
    for (const name of ['middle', 'end', 'moved']) {
      const node = await world.file(name, Buffer.alloc(200_000, 'x'));
      nodes.push(node);
    }
    await sent();
    const hole = { mode: 'punch', keepSize: true, length: 100_000 } as const;
    await world.fileSystem.allocate(nodes[0]!, { ...hole, offset: 50_000 }, CONTEXT);
    await world.fileSystem.allocate(nodes[1]!, { ...hole, offset: 100_000 }, CONTEXT);
    for (const size of [70_000, 3 * MIB])
      await world.fileSystem.setAttributes(nodes[2]!, { size }, CONTEXT);
    await arrives();
    expect(await rangesOf(receiver, 'middle')).toEqual([
      { offset: 0, length: 50_000 },
      { offset: 150_000, length: 50_000 },
    ]);
    expect(await rangesOf(receiver, 'end')).toEqual([{ offset: 0, length: 100_000 }]);
    expect(await rangesOf(receiver, 'moved')).toEqual([{ offset: 0, length: 70_000 }]);
  });

  it('arrives for directories that were swapped, and turned inside out', async () => {
    for (const path of ['x', 'y', 'x/in', 'up', 'up/down', 'up/down/deep'])
      await make(path, 'directory');
    for (const path of ['x/f', 'y/f', 'up/down/deep/f']) await make(path, 'file');
    await sent();
    await move('x', 'y', 'exchange');
    await move('up/down/deep', 'deep');
    await move('up/down', 'deep/down');
    await move('up', 'deep/down/up');
    await arrives();
  });

  it('arrives for names that went to something else, and links that came and went', async () => {
    const { fileSystem } = sender.world;
    const file = await make('file', 'file');
    await make('directory', 'directory');
    await make('directory/inner', 'directory');
    const other = await make('directory/other', 'file');
    await fileSystem.link(file, ROOT, 'second', CONTEXT);
    await fileSystem.link(other, ROOT, 'third', CONTEXT);
    await sent();
    await fileSystem.unlink(ROOT, 'file', CONTEXT);
    await make('file', 'directory');
    await fileSystem.unlink(ROOT, 'third', CONTEXT);
    await move('directory/inner', 'third');
    await fileSystem.link(file, (await placeOf(sender.world, 'third/x')).parent, 'x', CONTEXT);
    await move('directory/other', 'third/y');
    await fileSystem.removeDirectory(ROOT, 'directory', CONTEXT);
    await sender.world.write(file, Buffer.from('by which name?'));
    await arrives();
  });

  it('leaves out what is open and has no name', async () => {
    const { fileSystem } = sender.world;
    const [old, young] = [await make('old', 'file'), await make('young', 'file')];
    for (const node of [old, young])
      await fileSystem.open(node, { write: true, truncate: false }, CONTEXT);
    await fileSystem.unlink(ROOT, 'young', CONTEXT);
    await sent();
    expect([...(await seeTree(receiver.source())).keys()]).toEqual(['', 'old']);
    await fileSystem.unlink(ROOT, 'old', CONTEXT);
    await sender.world.write(old, Buffer.from('unseen'));
    await arrives();
    expect([...(await seeTree(receiver.source())).keys()]).toEqual(['']);
  });
});

describe('what a change costs', () => {
  it('is that of the change, and not of the volume', async () => {
    const sender = new Sender();
    const { fileSystem } = sender.world;
    const options = { mode: 0o755, rdev: 0, target: '', exclusive: true };
    const nodes: NodeReference[] = [];
    for (let i = 0; i < 40; i++) {
      const directory = await fileSystem.create(
        ROOT,
        `d${i}`,
        { ...options, kind: 'directory' },
        CONTEXT,
      );
      for (let j = 0; j < 50; j++) {
        const file = { ...options, kind: 'file' } as const;
        nodes.push((await fileSystem.create(directory.node, `f${j}`, file, CONTEXT)).node);
      }
    }
    sender.take('before');
    await sender.world.write(nodes[1_234]!, Buffer.from('one'));
    sender.take('after');
    let looked = 0;
    const change = await sender.change('before', 'after');
    sender.world.views.length = 0;
    const counts = noCounts();
    const frames = changeFrames(change, BASED, {
      onPlan: (plan) => {
        looked = plan.looked;
      },
    });
    for await (const _ of encodeStream(frames, counts));
    // The names of one directory and of the root, to know what the file is called.
    expect(looked).toBeLessThanOrEqual(90);
    expect(sender.world.views.length).toBeLessThan(40);
    expect(counts).toMatchObject({ dataBytes: 3 });
    expect(counts.streamBytes).toBeLessThan(1_000);
  });
});

describe('a stream that does not fit', () => {
  const made = { rdev: 0n, target: '' };
  const finish = { size: 0, mode: 0o755, uid: 0, gid: 0, atimeNs: 0n, mtimeNs: 0n, xattrs: [] };
  const root: Frame = { frame: 'finish', id: 1, ...finish, isKept: false };
  const begin: Frame = { frame: 'begin', header: HEADER };
  const based: Frame = { frame: 'begin', header: BASED };
  async function outcome(isChange: boolean, ...frames: readonly Frame[]): Promise<string> {
    const receiver = new Receiver();
    await receiver.world.file('there', Buffer.from('x'));
    const stream = encodeStream(
      (async function* () {
        yield* frames;
      })(),
    );
    return receiver.take(stream, isChange).then(
      () => 'taken',
      (error: unknown) => (error as HoldfastError).code,
    );
  }

  it('is refused where it names what it has not described', async () => {
    const file: Frame = { frame: 'make', id: 5, parent: 1, name: 'f', kind: 'file', ...made };
    expect(await outcome(false, begin, file, root)).toBe('taken');
    expect(await outcome(false, begin, file)).toBe('CORRUPT'); // what is the root?
    expect(await outcome(false, begin, root, root)).toBe('CORRUPT');
    expect(await outcome(false, begin, file, file, root)).toBe('CORRUPT');
    const inFile: Frame = { ...file, id: 6, parent: 5 };
    expect(await outcome(false, begin, file, inFile, root)).toBe('CORRUPT');
    expect(await outcome(false, begin, inFile, root)).toBe('CORRUPT');
    const data: Frame = { frame: 'data', id: 1, offset: 0, bytes: Buffer.from('x') };
    expect(await outcome(false, begin, data, root)).toBe('CORRUPT');
    const done: Frame = { ...root, id: 5 };
    expect(await outcome(false, begin, file, done, done, root)).toBe('CORRUPT');
    const link: Frame = { frame: 'link', id: 5, parent: 1, name: 'g', isLast: true };
    expect(await outcome(false, begin, file, { ...done, isKept: true }, link, root)).toBe('taken');
    expect(await outcome(false, begin, file, { ...file, id: 6 }, root)).toBe('EEXIST');
  });

  it('is refused where the volume is not as the base', async () => {
    const locate: Frame = { frame: 'locate', id: 5, parent: 1, name: 'there', kind: 'file' };
    expect(await outcome(true, based, locate, root)).toBe('taken');
    expect(await outcome(true, based, { ...locate, kind: 'directory' }, root)).toBe('CONFLICT');
    expect(await outcome(true, based, { ...locate, name: 'not' }, root)).toBe('CONFLICT');
    expect(await outcome(true, based, { frame: 'unlink', parent: 1, name: 'not' }, root)).toBe(
      'ENOENT',
    );
    const place: Frame = { frame: 'place', id: 5, parent: 1, name: 'never held' };
    expect(await outcome(true, based, locate, place, root)).toBe('ENOENT');
  });
});

async function rangesOf(receiver: Receiver, path: string) {
  const source = receiver.source();
  const file = await source.open(path, await source.find(path));
  return (await file.dataRanges()) ?? [];
}
