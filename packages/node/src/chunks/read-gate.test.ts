import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReadGate } from './read-gate.ts';

const LIMITS = { readerBytesMax: 10, totalBytesMax: 25 };
const never = new AbortController().signal;

describe('the read gate', () => {
  it('keeps every reader and all of them within bounds, and lets everybody in', async () => {
    const reads = fc.array(
      fc.record({ reader: fc.nat(4), bytes: fc.integer({ min: 1, max: 12 }) }),
    );
    await fc.assert(
      fc.asyncProperty(reads, async (wanted) => {
        const gate = new ReadGate(LIMITS);
        const readers = [{}, {}, {}, {}, {}];
        const inside = new Map<number, number[]>();
        let done = 0;
        await Promise.all(
          wanted.map(async ({ reader, bytes }) => {
            const leave = await gate.enter(readers[reader] ?? {}, bytes, never);
            const own = inside.get(reader) ?? [];
            inside.set(reader, own);
            own.push(bytes);
            const sum = (list: number[]): number => list.reduce((a, b) => a + b, 0);
            expect(own.length === 1 || sum(own) <= LIMITS.readerBytesMax).toBe(true);
            const all = [...inside.values()].flat();
            expect(all.length === 1 || sum(all) <= LIMITS.totalBytesMax).toBe(true);
            await Promise.resolve();
            own.splice(own.indexOf(bytes), 1);
            done++;
            leave();
          }),
        );
        expect(done).toBe(wanted.length);
      }),
    );
  });

  it('lets those behind in when one that waits gives up', async () => {
    const gate = new ReadGate(LIMITS);
    const [one, two, three] = [{}, {}, {}];
    const leave = await gate.enter(one, 8, never);
    const controller = new AbortController();
    const large = gate.enter(one, 9, controller.signal);
    const small = gate.enter(one, 2, never);
    controller.abort();
    await expect(large).rejects.toMatchObject({ code: 'EINTR' });
    const leaveSmall = await small;
    await gate.enter(two, 10, never);
    const blocked = new AbortController();
    const waiting = gate.enter(three, 10, blocked.signal);
    blocked.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'EINTR' });
    leave();
    leaveSmall();
    await gate.enter(three, 10, never);
    await expect(gate.enter(three, 1, blocked.signal)).rejects.toMatchObject({ code: 'EINTR' });
  });
});
