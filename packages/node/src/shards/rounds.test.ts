import { afterEach, describe, expect, it } from 'vitest';
import { Rounds } from './rounds.ts';

/** Rounds that end when told to; each then asks for a pause of an hour, or of so many milliseconds. */
function roundsOf(pauseMs = 3_600_000) {
  const begun: { signal: AbortSignal; end: () => void }[] = [];
  const rounds = new Rounds(async (signal) => {
    await new Promise<void>((resolve) => begun.push({ signal, end: resolve }));
    return pauseMs;
  });
  /** Resolves when round `count` has begun. */
  const begins = async (count: number) => {
    while (begun.length < count) await new Promise(setImmediate);
    return begun[count - 1]!;
  };
  return { rounds, begun, begins };
}

describe('rounds', () => {
  let world: ReturnType<typeof roundsOf>;
  afterEach(async () => {
    const stopped = world.rounds.stop();
    for (const { end } of world.begun) end();
    await stopped;
  });

  it('follow each other, after the pause that the last one asked for', async () => {
    world = roundsOf(0);
    world.rounds.start();
    (await world.begins(1)).end();
    (await world.begins(2)).end();
    await world.begins(3);
  });

  it('do not wait when woken, before the pause or in it', async () => {
    world = roundsOf();
    world.rounds.start();
    const first = await world.begins(1);
    world.rounds.wake();
    first.end();
    (await world.begins(2)).end();
    await new Promise(setImmediate);
    world.rounds.wake();
    await world.begins(3);
  });

  it('are told at once to stop, and are waited for', async () => {
    world = roundsOf();
    world.rounds.start();
    const { signal, end } = await world.begins(1);
    let isStopped = false;
    const stopped = world.rounds.stop().then(() => {
      isStopped = true;
    });
    expect(signal.aborted).toBe(true);
    await new Promise(setImmediate);
    expect(isStopped).toBe(false);
    end();
    await stopped;
  });

  it('never overlap, however they are stopped and started', async () => {
    world = roundsOf();
    world.rounds.start();
    const first = await world.begins(1);
    void world.rounds.stop();
    world.rounds.start();
    await new Promise(setImmediate);
    expect(world.begun).toHaveLength(1);
    first.end();
    const second = await world.begins(2);
    expect([first.signal.aborted, second.signal.aborted]).toEqual([true, false]);
  });
});
