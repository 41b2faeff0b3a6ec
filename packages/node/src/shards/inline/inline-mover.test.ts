import { check, freedChunks } from '@holdfast/metadata';
import { HoldfastError, INTERNAL_SESSION, ROOT_INODE, type VolumeNumber } from '@holdfast/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { TWO, World } from './testing/world.ts';

let world: World;
afterEach(async () => {
  await world.mover.stop();
  const wrong = await check(world.state);
  if (wrong.length > 0) throw new Error(wrong.join('; '));
});

describe('inline mover', () => {
  it('packs settled bytes of a volume into one chunk, and reads are as before', async () => {
    world = new World();
    const a = world.file('a');
    const b = world.file('b');
    const c = world.file('c', TWO);
    world.write(a, 0, 'hello ');
    world.write(a, 100, 'world');
    world.write(b, 5, 'b');
    world.write(c, 0, 'other volume', TWO);
    world.pass(1000);
    const before = await world.read(a);
    world.mover.start();
    await world.until(() => world.isMoved());
    expect(await world.read(a)).toEqual({ text: before.text, inline: 0 });
    expect(await world.read(b)).toEqual({ text: '.....b', inline: 0 });
    expect(await world.read(c, { volume: TWO })).toEqual({ text: 'other volume', inline: 0 });
    const bodies = [...world.chunks.values()].map((bytes) => Buffer.from(bytes).toString());
    expect(bodies).toEqual(['hello worldb', 'other volume']);
  });

  it('moves bytes into another chunk when the first may not be named any more', async () => {
    world = new World();
    const a = world.file('a');
    world.write(a, 0, 'hello');
    world.pass(1000);
    const bar = { op: 'bar-chunks', before: 1 } as const;
    world.apply(world.command(bar, 0 as VolumeNumber, INTERNAL_SESSION));
    world.mover.start();
    await world.until(() => world.isMoved());
    expect(await world.read(a)).toEqual({ text: 'hello', inline: 0 });
    expect(world.barred).toEqual([1]);
    expect(world.deleted).toHaveLength(1);
  });

  it('leaves alone what was written just now', async () => {
    world = new World();
    const a = world.file('a');
    const hot = world.file('hot');
    world.write(a, 0, 'cold');
    world.pass(999);
    world.write(hot, 0, 'hot');
    world.pass(1);
    world.mover.start();
    await world.until(() => world.moves.length > 0);
    await world.mover.stop();
    expect(world.moves).toMatchObject([{ ino: a }]);
    expect(await world.read(hot)).toEqual({ text: 'hot', inline: 3 });
  });

  it('moves what has settled of a file that is written all the time, and never a hot page', async () => {
    world = new World();
    const ino = world.file('database');
    world.write(ino, 5000, 'cold');
    world.mover.start();
    await world.until(async () => {
      world.pass(300);
      world.write(ino, 0, 'hot!');
      return (await world.read(ino, { offset: 5000 })).inline === 0;
    });
    expect(await world.read(ino, { offset: 5000 })).toEqual({ text: 'cold', inline: 0 });
    await world.until(() => {
      world.pass(300);
      world.write(ino, 0, 'hot!');
      return world.nowMs > 1_100_000;
    });
    const bodies = [...world.chunks.values()].map((bytes) => Buffer.from(bytes).toString());
    expect(bodies).toEqual(['cold']);
  });

  it('never undoes what is written, cut or unlinked while the chunk is on its way', async () => {
    world = new World();
    const a = world.file('a');
    const b = world.file('b');
    const c = world.file('c');
    world.write(a, 0, 'aaaaaaaaaa');
    world.write(b, 0, 'bbbbbbbbbb');
    world.write(c, 0, 'cccccccccc');
    world.pass(1000);
    world.onWritten = () => {
      world.onWritten = () => {};
      world.write(a, 3, 'NEW');
      world.do({ op: 'set-attributes', ino: b, size: 4 });
      world.do({ op: 'set-attributes', ino: b, size: 8 });
      world.do({ op: 'unlink', parent: ROOT_INODE, name: 'c' });
    };
    world.mover.start();
    await world.until(() => world.moves.length === 3);
    await world.mover.stop();
    expect(await world.read(a)).toEqual({ text: 'aaaNEWaaaa', inline: 3 });
    expect(await world.read(b)).toEqual({ text: 'bbbb....', inline: 0 });
    expect(world.deleted).toEqual([]);
  });

  it('deletes a chunk that nothing can name, and leaves one alone that may be named', async () => {
    world = new World();
    const ino = world.file('a');
    world.write(ino, 0, 'bytes');
    world.pass(1000);
    const codes = ['UNKNOWN_OUTCOME', 'NO_QUORUM', 'NOT_LEADER', 'OVERLOADED'] as const;
    let tries = 0;
    world.onPropose = (command) => {
      const code = codes[tries++];
      if (code === undefined) return Promise.resolve(world.apply(command));
      return Promise.reject(new HoldfastError(code));
    };
    world.mover.start();
    await world.until(() => world.isMoved());
    const [, , third, fourth] = world.chunks.keys();
    expect(world.deleted).toEqual([third, fourth]);
    expect(await world.read(ino)).toEqual({ text: 'bytes', inline: 0 });
  });

  it('deletes the chunk when the volume has gone meanwhile', async () => {
    world = new World();
    world.write(world.file('a'), 0, 'bytes');
    world.pass(1000);
    world.onWritten = () => {
      world.do({ op: 'destroy-volume', force: true });
    };
    world.mover.start();
    await world.until(() => world.deleted.length > 0);
    expect(world.deleted).toEqual([...world.chunks.keys()]);
  });

  it('stops at once when leadership is lost: nothing is proposed, a late chunk is deleted', async () => {
    world = new World();
    const ino = world.file('a');
    world.write(ino, 0, 'bytes');
    world.pass(1000);
    const { promise: written, resolve: isWritten } = Promise.withResolvers<void>();
    const { promise: goOn, resolve } = Promise.withResolvers<void>();
    world.onWritten = () => {
      isWritten();
      return goOn;
    };
    world.mover.start();
    await written;
    // Does not wait for the write, which never ends.
    await world.mover.stop();
    expect(world.moves).toEqual([]);
    world.onWritten = () => {};
    world.mover.start();
    await world.until(() => world.isMoved());
    resolve();
    await world.until(() => world.deleted.length > 0);
    expect(world.deleted).toEqual([...world.chunks.keys()].slice(0, 1));
    expect(await world.read(ino)).toEqual({ text: 'bytes', inline: 0 });
  });

  it('moves under a delegation without its holder noticing', async () => {
    world = new World();
    const ino = world.file('a');
    world.do({ op: 'acquire-delegation' });
    world.write(ino, 0, 'bytes');
    world.pass(1000);
    world.mover.start();
    await world.until(() => world.isMoved());
    expect(await world.read(ino)).toEqual({ text: 'bytes', inline: 0 });
    expect(await freedChunks(world.state, 0, 10)).toEqual([]);
  });

  it('cuts what is more than a chunk', async () => {
    world = new World();
    const ino = world.file('a');
    const block = 32 * 1024;
    for (let i = 0; i < 140; i++) world.write(ino, i * block, String(i % 10).repeat(block));
    world.pass(1000);
    world.mover.start();
    await world.until(() => world.isMoved());
    expect([...world.chunks.values()].map(({ length }) => length)).toEqual([
      4 * 2 ** 20,
      12 * block,
    ]);
    const { text } = await world.read(ino);
    for (let i = 0; i < 128; i++) expect(text[i * block + 17]).toBe(String(i % 10));
  });

  it('does not wait with a region that is crowded', async () => {
    world = new World({ crowdedPieces: 8, crowdingWrites: 4, intervalMs: 1_000_000 });
    const ino = world.file('a');
    world.mover.start();
    await new Promise(setImmediate);
    for (let i = 0; i < 16; i++) world.write(ino, i * 10, 'x');
    await world.until(() => world.isMoved());
    expect((await world.read(ino)).text).toBe(`${'x.........'.repeat(15)}x`.replaceAll('.', '\0'));
  });

  it('makes one piece of a crowded region, parts of chunks and new writes included', async () => {
    world = new World({ crowdedPieces: 8, crowdingWrites: 6, settleMs: 1e9 });
    const ino = world.file('a');
    world.write(ino, 0, '-'.repeat(1000));
    world.mover.start();
    world.writeChunk(ino, 0, Buffer.alloc(1000, '-'));
    world.onWritten = () => {
      world.onWritten = () => {};
      world.write(ino, 55, 'NEW');
    };
    for (let i = 0; i < 6; i++) world.write(ino, i * 100, 'x');
    await world.until(() => world.moves.length > 0);
    await world.mover.stop();
    const expected = Buffer.alloc(1000, '-');
    for (let i = 0; i < 6; i++) expected.write('x', i * 100);
    expected.write('NEW', 55);
    expect(await world.read(ino)).toEqual({ text: expected.toString(), inline: 3 });
    expect(world.pieces(ino)).toBe(3);
  });

  it('lets go of the many chunks that a region came to show', async () => {
    world = new World({ scatteredChunks: 4 });
    const ino = world.file('a');
    world.mover.start();
    for (let i = 0; i < 4; i++) {
      world.write(ino, i * 5000, `page ${i}`);
      world.pass(1000);
      await world.until(() => world.isMoved());
    }
    expect(await freedChunks(world.state, 0, 10)).toEqual([]);
    world.write(ino, 20_000, 'page 4');
    world.pass(1000);
    await world.until(() => world.isMoved());
    const freed = await freedChunks(world.state, 0, 10);
    expect(freed.map(({ chunk }) => chunk)).toEqual([...world.chunks.keys()].slice(0, 4));
    expect((await world.read(ino)).text.replaceAll(/[.\0]/g, '')).toBe(
      'page 0page 1page 2page 3page 4',
    );
  });

  it('moves at least the inline bytes of a crowded region whose chunks cannot be read', async () => {
    world = new World({ crowdedPieces: 8, crowdingWrites: 6, settleMs: 1e9 });
    const ino = world.file('a');
    const chunk = world.writeChunk(ino, 0, Buffer.alloc(1000, '-'));
    const bytes = world.chunks.get(chunk)!;
    world.chunks.delete(chunk);
    world.mover.start();
    await new Promise(setImmediate);
    for (let i = 0; i < 6; i++) world.write(ino, i * 100, 'x');
    await world.until(() => world.isMoved());
    await world.mover.stop();
    world.chunks.set(chunk, bytes);
    expect((await world.read(ino)).text).toBe(`x${'-'.repeat(99)}`.repeat(6) + '-'.repeat(400));
  });
});
