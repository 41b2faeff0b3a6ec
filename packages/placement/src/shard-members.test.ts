import type { NodeNumber, NodeRecord, NodeState } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { chooseMembers } from './shard-members.ts';

function node(number: number, state: NodeState = 'up', zone = `z${number}`): NodeRecord {
  return {
    number: number as NodeNumber,
    name: `n${number}`,
    grpcAddress: '',
    wireAddress: '',
    adminAddress: '',
    discoveryAddress: '',
    zone,
    weight: 1,
    state,
    incarnation: '',
  };
}

function choose(
  present: number[],
  nodes: NodeRecord[],
  load: (n: number) => number = () => 0,
): number[] {
  return [...chooseMembers({ present: present as NodeNumber[], nodes, load })].sort(
    (a, b) => a - b,
  );
}

describe('members of a shard', () => {
  it('grow from 1 to 3 to 5 as peers come', () => {
    expect(choose([1], [node(1)])).toEqual([1]);
    expect(choose([1], [node(1), node(2)])).toEqual([1]);
    expect(choose([1], [node(1), node(2), node(3)])).toEqual([1, 2, 3]);
    expect(
      choose(
        [1, 2, 3],
        [1, 2, 3, 4].map((n) => node(n)),
      ),
    ).toEqual([1, 2, 3]);
    expect(
      choose(
        [1, 2, 3],
        [1, 2, 3, 4, 5].map((n) => node(n)),
      ),
    ).toEqual([1, 2, 3, 4, 5]);
    expect(
      choose(
        [1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5, 6, 7].map((n) => node(n)),
      ),
    ).toEqual([1, 2, 3, 4, 5]);
  });

  it('do not wait for peers that never came up', () => {
    expect(choose([1], [node(1), node(2, 'out'), node(3, 'out')])).toEqual([1]);
  });

  it('stay when one is down and are replaced when it is out', () => {
    const down = [node(1), node(2), node(3, 'down'), node(4)];
    expect(choose([1, 2, 3], down)).toEqual([1, 2, 3]);
    const out = [node(1), node(2), node(3, 'out'), node(4)];
    expect(choose([1, 2, 3], out)).toEqual([1, 2, 4]);
  });

  it('keep a place that nobody can take, until its holder is removed', () => {
    expect(choose([1, 2, 3], [node(1), node(2), node(3, 'out')])).toEqual([1, 2, 3]);
    expect(choose([1, 2, 3], [node(1), node(2)])).toEqual([1, 2]);
    expect(choose([1, 2, 3], [node(1), node(2), node(3, 'out'), node(4, 'down')])).toEqual([
      1, 2, 3,
    ]);
  });

  it('are spread over zones, then over the peers with the fewest shards', () => {
    const nodes = [
      node(1, 'up', 'a'),
      node(2, 'up', 'a'),
      node(3, 'up', 'b'),
      node(4, 'up', 'c'),
      node(5, 'out', 'd'),
    ];
    expect(choose([1], nodes)).toEqual([1, 3, 4]);
    const flat = [1, 2, 3, 4].map((n) => node(n));
    expect(choose([1], flat, (n) => (n === 2 ? 5 : 0))).toEqual([1, 3, 4]);
  });

  it('shrink by the one that is down, then by the one that shares a zone', () => {
    const nodes = [node(1), node(2, 'down'), node(3, 'up', 'x'), node(4, 'up', 'x')];
    expect(choose([1, 2, 3, 4], nodes)).toEqual([1, 3, 4]);
    expect(
      choose([1, 2, 3, 4], [node(1), node(2), node(3, 'up', 'x'), node(4, 'up', 'x')]),
    ).toEqual([1, 2, 3]);
  });
});
