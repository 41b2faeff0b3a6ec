import { check } from '@holdfast/metadata';
import type { InodeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { World } from './testing/world.ts';

/** Whole numbers below a bound, the same for a seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const MODEL_BYTES = 12_000;

/** A file, and the bytes that it has to show. */
class ModelFile {
  readonly #world: World;
  readonly #ino: InodeNumber;
  readonly #random: (below: number) => number;
  #bytes = Buffer.alloc(0);

  constructor(on: World, ino: InodeNumber, random: (below: number) => number) {
    this.#world = on;
    this.#ino = ino;
    this.#random = random;
  }

  change(): void {
    const offset = this.#random(MODEL_BYTES);
    const length = 1 + this.#random(this.#random(8) === 0 ? 3000 : 60);
    const text = String.fromCharCode(97 + this.#random(26)).repeat(length);
    const kind = this.#random(20);
    const ino = this.#ino;
    if (kind === 0) {
      this.#grow(offset);
      this.#bytes = this.#bytes.subarray(0, offset);
      this.#world.do({ op: 'set-attributes', ino, size: offset });
    } else if (kind === 1) {
      this.#bytes.subarray(offset, offset + length).fill(0);
      this.#world.do({ op: 'fallocate', ino, mode: 'punch', keepSize: true, offset, length });
    } else {
      this.#grow(offset + length);
      this.#bytes.write(text, offset);
      if (kind === 2) this.#world.writeChunk(ino, offset, Buffer.from(text));
      else this.#world.write(ino, offset, text);
    }
  }

  #grow(size: number): void {
    const more = Buffer.alloc(Math.max(0, size - this.#bytes.length));
    this.#bytes = Buffer.concat([this.#bytes, more]);
  }

  async compare(): Promise<void> {
    const { text } = await this.#world.read(this.#ino);
    if (text.replaceAll('.', '\0') !== this.#bytes.toString()) throw new Error('other bytes');
  }
}

describe('inline mover', () => {
  it.each([1, 2, 3, 4, 5, 6])(
    'never changes what is read, whatever happens meanwhile (seed %i)',
    async (seed) => {
      const tight = { crowdedPieces: 24, scatteredChunks: 4, crowdingWrites: 6, rangesPerPart: 7 };
      const world = new World({ ...tight, settleMs: 1000, filesPerChunk: 2, partsPerChunk: 5 });
      const random = randomFrom(seed);
      const files = ['a', 'b', 'c'].map((name) => new ModelFile(world, world.file(name), random));
      const step = (): void => {
        world.pass(random(400));
        files[random(files.length)]!.change();
      };
      // Half of the changes come between a chunk and the commands that refer to it.
      world.onWritten = () => {
        for (let i = random(3); i > 0; i--) step();
      };
      world.mover.start();
      for (let i = 0; i < 400; i++) {
        step();
        if (i % 4 === 0) await new Promise(setImmediate);
        if (i % 16 === 0) for (const file of files) await file.compare();
      }
      world.onWritten = () => {};
      await world.until(() => {
        world.pass(100);
        return world.isMoved();
      });
      for (const file of files) await file.compare();
      await world.mover.stop();
      expect(await check(world.state)).toEqual([]);
      expect(world.moves.some((move) => move.op === 'move-inline' && move.seen !== undefined)).toBe(
        true,
      );
    },
  );
});
