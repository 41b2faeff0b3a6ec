import { HoldfastError, type VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { Delegations } from './delegations.ts';

const VOLUME = 5 as VolumeNumber;

/** A cluster that grants, and a clock that is moved by hand. */
function bench() {
  const events: string[] = [];
  const world = { now: 1_000, trustedUntil: 10_000, grant: true, fail: false };
  let release: (() => void) | undefined;
  const delegations = new Delegations({
    acquire: async () => {
      events.push('acquire');
      if (world.fail) throw new HoldfastError('NO_QUORUM');
      return { delegation: { granted: world.grant } };
    },
    forget: () => {
      events.push('forget');
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    },
    giveBack: async () => events.push('give back'),
    trustedUntilMs: () => world.trustedUntil,
    nowMs: () => world.now,
  });
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const forgotten = async (): Promise<void> => {
    release?.();
    await settle();
  };
  return { events, world, delegations, settle, forgotten };
}

describe('delegations', () => {
  it('let beliefs live only while held, and never beyond the trust in the lease', async () => {
    const { delegations, world, settle } = bench();
    expect(delegations.validMs(VOLUME)).toBe(0);
    delegations.used(VOLUME);
    await settle();
    expect(delegations.validMs(VOLUME)).toBe(1_000);
    world.now = world.trustedUntil - 300;
    expect(delegations.validMs(VOLUME)).toBe(300);
    world.now = world.trustedUntil + 5;
    expect(delegations.validMs(VOLUME)).toBe(0);
  });

  it('are given back only after everything was forgotten, and believed in no longer from the recall on', async () => {
    const { delegations, events, settle, forgotten } = bench();
    delegations.used(VOLUME);
    await settle();
    delegations.recalled(VOLUME);
    expect(delegations.validMs(VOLUME)).toBe(0);
    delegations.recalled(VOLUME);
    await settle();
    expect(events).toEqual(['acquire', 'forget']);
    await forgotten();
    expect(events).toEqual(['acquire', 'forget', 'give back']);
  });

  it('are given back even when this process does not know that it holds them', async () => {
    const { delegations, events, forgotten } = bench();
    delegations.recalled(VOLUME);
    await forgotten();
    expect(events).toEqual(['forget', 'give back']);
  });

  it('are not asked for again at once after a recall, and ever later when recalls go on', async () => {
    const { delegations, events, world, settle, forgotten } = bench();
    for (const pauseMs of [4_000, 8_000]) {
      delegations.used(VOLUME);
      await settle();
      delegations.recalled(VOLUME);
      await forgotten();
      events.length = 0;
      world.now += pauseMs - 1;
      delegations.used(VOLUME);
      expect(events).toEqual([]);
      world.now += 1;
    }
    delegations.used(VOLUME);
    expect(events).toEqual(['acquire']);
  });

  it('are not believed in when none is granted or the cluster does not answer', async () => {
    const { delegations, world, settle, events } = bench();
    world.grant = false;
    delegations.used(VOLUME);
    await settle();
    expect(delegations.validMs(VOLUME)).toBe(0);
    world.fail = true;
    world.now += 2_000;
    delegations.used(VOLUME);
    await settle();
    expect(delegations.validMs(VOLUME)).toBe(0);
    expect(events).toEqual(['acquire', 'acquire']);
  });

  it('end with their session', async () => {
    const { delegations, settle } = bench();
    delegations.used(VOLUME);
    await settle();
    delegations.fenced();
    expect(delegations.validMs(VOLUME)).toBe(0);
  });
});

describe('tickets', () => {
  it('make an answer believable only when the delegation was held since before the question', async () => {
    const { delegations, settle, forgotten, world } = bench();
    const early = delegations.ticket(VOLUME);
    delegations.used(VOLUME);
    await settle();
    expect(delegations.validMs(VOLUME, early)).toBe(0);
    const held = delegations.ticket(VOLUME);
    expect(delegations.validMs(VOLUME, held)).toBe(1_000);
    delegations.recalled(VOLUME);
    await forgotten();
    world.now += 4_000;
    delegations.used(VOLUME);
    await settle();
    expect(delegations.validMs(VOLUME)).toBe(1_000);
    expect(delegations.validMs(VOLUME, held)).toBe(0);
  });
});
