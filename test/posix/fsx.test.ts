import { INIT_FLAG, PollReadiness } from '@holdfast/fuse-mount';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mounted } from './support/mounted.ts';
import { Probe } from './support/probe.ts';
import { SEED, useAtRandom } from './support/random-use.ts';

/** What Linux offers since 5.11 and the mount takes. */
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
    const path = mounted.path('fsx');
    const users = probes.map((probe) => ({ probe, path }));
    await useAtRandom(users, { rounds: 400 });
    expect(mounted.problems).toEqual([]);
  });
});
