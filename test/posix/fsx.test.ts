import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { INIT_FLAG, PollReadiness } from '@holdfast/fuse-mount';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mounted } from './support/mounted.ts';
import { Probe } from './support/probe.ts';

const { O_CREAT, O_RDWR } = constants;
const FILE_BYTES_MAX = 300_000;
const ROUNDS = 400;
const SEED = Number(process.env['HOLDFAST_SEED'] ?? 20_261_123);

/** A generator of whole numbers below a bound (mulberry32), the same for the same seed. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Everything that Linux offered from 5.11 on. */
const LATER = INIT_FLAG.handleKillPrivilegesV2 | INIT_FLAG.directIoAllowMmap | INIT_FLAG.resend;

describe.each([
  ['this kernel', {}],
  ['a kernel as old as Linux 5.10', { withoutFlags: LATER }],
  ['a device watched by poll(2)', { readiness: (fd: number) => new PollReadiness(fd) }],
])('a file under random use on %s', (_title, options) => {
  let mounted: Mounted;
  let probes: Probe[];
  beforeAll(async () => {
    mounted = await Mounted.start(options);
    probes = [new Probe(), new Probe()];
  });
  afterAll(async () => {
    await Promise.all((probes ?? []).map((probe) => probe.close()));
    await mounted?.close();
  });

  it(`has at each moment the bytes that were put there (HOLDFAST_SEED=${SEED})`, async () => {
    const random = seeded(SEED);
    const path = mounted.path('fsx');
    const descriptors: number[] = [];
    for (const probe of probes) descriptors.push(await probe.call('open', path, O_RDWR | O_CREAT));
    let model = Buffer.alloc(0);

    const resize = (size: number) => {
      const resized = Buffer.alloc(size);
      model.copy(resized);
      model = resized;
    };
    const fill = (length: number) => Buffer.alloc(length, 1 + random(255));
    const steps: readonly ((probe: Probe, fd: number) => Promise<void>)[] = [
      async (probe, fd) => {
        const offset = random(FILE_BYTES_MAX);
        const bytes = fill(1 + random(FILE_BYTES_MAX - offset));
        if (offset + bytes.length > model.length) resize(offset + bytes.length);
        bytes.copy(model, offset);
        await probe.call('write', fd, bytes, offset);
      },
      async (probe, fd) => {
        const offset = random(FILE_BYTES_MAX);
        const length = 1 + random(100_000);
        const read = Buffer.from(await probe.call('read', fd, offset, length));
        expect(Buffer.compare(read, model.subarray(offset, offset + length))).toBe(0);
      },
      async (probe, fd) => {
        const size = random(FILE_BYTES_MAX);
        resize(size);
        await probe.call('ftruncate', fd, size);
      },
      async (probe, fd) => {
        if (model.length === 0) return;
        const bytes = fill(1 + random(model.length));
        const before = Buffer.from(await probe.call('mmapWrite', fd, model.length, bytes));
        expect(Buffer.compare(before, model)).toBe(0);
        bytes.copy(model);
      },
      async (probe, fd) => {
        const offset = random(FILE_BYTES_MAX);
        const length = 1 + random(100_000);
        model.fill(0, offset, Math.min(offset + length, model.length));
        await probe.call('fallocate', fd, 3, offset, length);
      },
      async (probe, fd) => {
        expect((await probe.call('fstat', fd)).size).toBe(BigInt(model.length));
      },
      async (probe) => {
        await fs.readdir(mounted.path(), { withFileTypes: true });
        expect((await probe.call('stat', path)).size).toBe(BigInt(model.length));
      },
    ];
    for (let round = 0; round < ROUNDS; round += 1) {
      const which = random(probes.length);
      const step = steps[random(steps.length)];
      await step?.(probes[which] as Probe, descriptors[which] as number);
    }
    expect(Buffer.compare(await fs.readFile(path), model)).toBe(0);
    expect(mounted.problems).toEqual([]);
  });
});
