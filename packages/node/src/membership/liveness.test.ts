import type { RegistryChange } from '@holdfast/placement';
import type { NodeNumber, NodeRecord, NodeState } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { Liveness } from './liveness.ts';

const sign = {
  incarnation: 'i',
  grpcAddress: 'a:1',
  wireAddress: 'a:2',
  adminAddress: 'a:3',
  discoveryAddress: '',
  zone: 'z',
  weight: 1,
};

class Bench {
  now = 1_000;
  readonly nodes = new Map<number, NodeRecord>();
  readonly executed: RegistryChange[] = [];
  readonly liveness = new Liveness({
    downAfterMs: 5_000,
    outAfterMs: 60_000,
    now: () => this.now,
    node: (number) => this.nodes.get(number),
    execute: async (change) => {
      this.executed.push(change);
    },
  });

  constructor() {
    for (const number of [1, 2]) this.set(number, 'up');
    this.liveness.begin();
  }

  set(number: number, state: NodeState): void {
    this.nodes.set(number, { ...sign, number: number as NodeNumber, name: `n${number}`, state });
  }

  verdicts(): unknown[] {
    return this.liveness
      .verdicts([...this.nodes.values()])
      .map((change) => change.op === 'set-node-state' && `${change.node} ${change.state}`);
  }
}

describe('liveness', () => {
  it('gives everyone a whole lease when leadership begins', () => {
    const bench = new Bench();
    bench.now += 4_999;
    expect(bench.verdicts()).toEqual([]);
    bench.now += 1;
    expect(bench.verdicts()).toEqual(['1 down', '2 down']);
    bench.liveness.begin();
    expect(bench.verdicts()).toEqual([]);
  });

  it('does not hold signs of an earlier leadership against anyone', async () => {
    const bench = new Bench();
    await bench.liveness.heard(1 as NodeNumber, sign);
    bench.now += 100_000;
    bench.liveness.begin();
    expect(bench.verdicts()).toEqual([]);
  });

  it('lets a peer be down only while it is silent, and out only after the time for that', async () => {
    const bench = new Bench();
    bench.now += 3_000;
    await bench.liveness.heard(1 as NodeNumber, sign);
    bench.now += 2_000;
    expect(bench.verdicts()).toEqual(['2 down']);
    bench.set(2, 'down');
    for (let second = 0; second < 59; second++) {
      await bench.liveness.heard(1 as NodeNumber, sign);
      expect(bench.verdicts()).toEqual([]);
      bench.now += 1_000;
    }
    bench.now += 1_000;
    expect(bench.verdicts()).toEqual(['2 out']);
  });

  it('brings a silent or new peer up at its first sign, and its new addresses into the map', async () => {
    const bench = new Bench();
    bench.set(2, 'out');
    await bench.liveness.heard(2 as NodeNumber, { ...sign, wireAddress: 'b:2' });
    expect(bench.executed).toEqual([
      { op: 'update-node', node: 2, incarnation: 'i', changes: { wireAddress: 'b:2' } },
      { op: 'set-node-state', node: 2, state: 'up', from: ['down', 'out'] },
    ]);
  });

  it('refuses a peer that was removed or has another incarnation', async () => {
    const bench = new Bench();
    await expect(bench.liveness.heard(9 as NodeNumber, sign)).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
    await expect(
      bench.liveness.heard(1 as NodeNumber, { ...sign, incarnation: 'j' }),
    ).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(bench.executed).toEqual([]);
  });

  it('tells how long each peer has been silent, but not of one never heard by this leader', async () => {
    const bench = new Bench();
    bench.now += 1_000;
    await bench.liveness.heard(1 as NodeNumber, sign);
    bench.now += 2_500;
    bench.verdicts();
    expect(bench.liveness.silences()).toEqual([{ node: 1, silentMs: 2_500 }]);
    bench.liveness.begin();
    expect(bench.liveness.silences()).toEqual([]);
  });
});
