import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import type { Probe } from './probe.ts';

const { O_CREAT, O_RDWR } = constants;
const FILE_BYTES_MAX = 300_000;

/** The seed of this run; set HOLDFAST_SEED to repeat one. */
export const SEED = Number(process.env['HOLDFAST_SEED'] ?? 20_261_123);

/** A process that uses the file, and the path by which it knows it. */
export interface User {
  readonly probe: Probe;
  readonly path: string;
}

/** A generator of whole numbers below a bound (mulberry32), the same for the same seed. */
export function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** One file as it should be, and one random step of each kind. */
class RandomUse {
  model = Buffer.alloc(0);
  readonly random = seeded(SEED);

  async write({ probe }: User, fd: number): Promise<void> {
    const offset = this.random(FILE_BYTES_MAX);
    const bytes = this.#fill(1 + this.random(FILE_BYTES_MAX - offset));
    this.#put(bytes, offset);
    await probe.call('write', fd, bytes, offset);
  }

  async read({ probe }: User, fd: number): Promise<void> {
    const offset = this.random(FILE_BYTES_MAX);
    const length = 1 + this.random(100_000);
    const read = Buffer.from(await probe.call('read', fd, offset, length));
    assert.equal(Buffer.compare(read, this.model.subarray(offset, offset + length)), 0);
  }

  async truncate({ probe }: User, fd: number): Promise<void> {
    const size = this.random(FILE_BYTES_MAX);
    this.#resize(size);
    await probe.call('ftruncate', fd, size);
  }

  async punch({ probe }: User, fd: number): Promise<void> {
    const offset = this.random(FILE_BYTES_MAX);
    const length = 1 + this.random(100_000);
    this.model.fill(
      0,
      Math.min(offset, this.model.length),
      Math.min(offset + length, this.model.length),
    );
    await probe.call('fallocate', fd, 3, offset, length);
  }

  async size({ probe, path }: User, fd: number): Promise<void> {
    const size = BigInt(this.model.length);
    assert.equal((await probe.call('fstat', fd)).size, size);
    assert.equal((await probe.call('stat', path)).size, size);
  }

  /** Through a mapping; under a lock, as is asked of mappings of one file on several hosts. */
  async map({ probe }: User, fd: number): Promise<void> {
    if (this.model.length === 0) return;
    const bytes = this.#fill(1 + this.random(this.model.length));
    await probe.call('lock', fd, 'set', 'write', 0, 0);
    // No page beyond the end that the kernel knows of can be touched.
    assert.equal((await probe.call('fstat', fd)).size, BigInt(this.model.length));
    const before = Buffer.from(await probe.call('mmapWrite', fd, this.model.length, bytes));
    await probe.call('lock', fd, 'set', 'unlock', 0, 0);
    assert.equal(Buffer.compare(before, this.model), 0);
    this.#put(bytes, 0);
  }

  #put(bytes: Buffer, offset: number): void {
    if (offset + bytes.length > this.model.length) this.#resize(offset + bytes.length);
    bytes.copy(this.model, offset);
  }

  #resize(size: number): void {
    const resized = Buffer.alloc(size);
    this.model.copy(resized);
    this.model = resized;
  }

  #fill(length: number): Buffer {
    return Buffer.alloc(length, 1 + this.random(255));
  }
}

/**
 * Random reads, writes, truncation, holes and shared mappings of one file by several users in turn; at
 * each moment each must see what all have done.
 */
export async function useAtRandom(
  users: readonly User[],
  { rounds }: { readonly rounds: number },
): Promise<void> {
  const use = new RandomUse();
  const descriptors: number[] = [];
  for (const { probe, path } of users) {
    descriptors.push(await probe.call('open', path, O_RDWR | O_CREAT));
  }
  const kinds = ['write', 'read', 'truncate', 'punch', 'size', 'map'] as const;
  for (let round = 0; round < rounds; round += 1) {
    const which = use.random(users.length);
    const kind = kinds[use.random(kinds.length)] ?? 'read';
    await use[kind](users[which] as User, descriptors[which] as number);
  }
  for (const [index, { probe }] of users.entries()) {
    const whole = await probe.call('read', descriptors[index] as number, 0, FILE_BYTES_MAX);
    assert.equal(Buffer.compare(Buffer.from(whole), use.model), 0);
    await probe.call('close', descriptors[index] as number);
  }
}
