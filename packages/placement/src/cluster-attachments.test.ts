import type { NodeNumber, VolumeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange } from './cluster-commands.ts';
import { begun, facts, type RegistryBench } from './testing/registry-bench.ts';

function users({ state }: RegistryBench, volume: string): readonly string[] | undefined {
  return state.volumeNamed(volume)?.record.attachedTo;
}

/** Peers a, b and c, all up. */
function threePeers(): RegistryBench {
  const bench = begun();
  for (const [index, name] of ['b', 'c'].entries()) {
    bench.do({ op: 'register-node', node: facts(name), serial: `${name}1` });
    bench.do({ op: 'set-node-state', node: (index + 2) as NodeNumber, state: 'up' });
  }
  return bench;
}

describe('volumes', () => {
  it('are used no more on a host that was removed', () => {
    const bench = threePeers();
    const host = 'b';
    for (const [index, name] of ['v', 'w'].entries()) {
      bench.do({ op: 'create-volume', name, policy: {} });
      bench.do({ op: 'volume-ready', volume: (index + 1) as VolumeNumber });
      for (const user of [host, 'other']) bench.do({ op: 'attach', name, host: user });
    }
    bench.try({ op: 'remove-node', node: 2 as NodeNumber, force: false });
    expect(users(bench, 'v')).toContain(host);
    bench.do({ op: 'remove-node', node: 2 as NodeNumber, force: true });
    for (const name of ['v', 'w']) expect(users(bench, name)).toEqual(['other']);
  });

  describe('when a host is gone', () => {
    const release = (host: string, force = false, name = 'v'): RegistryChange => {
      return { op: 'release', name, host, force };
    };
    const used = (): RegistryBench => {
      const bench = threePeers();
      bench.do({ op: 'create-volume', name: 'v', policy: {} });
      bench.do({ op: 'volume-ready', volume: 1 as VolumeNumber });
      for (const host of ['b', 'c', 'stranger']) bench.do({ op: 'attach', name: 'v', host });
      return bench;
    };

    it.each(['down', 'out'] as const)('are released from a peer that is %s', (state) => {
      const bench = used();
      bench.do({ op: 'set-node-state', node: 2 as NodeNumber, state });
      const { volume, changed } = bench.do(release('b'));
      expect([volume?.attachedTo, changed]).toEqual([['c', 'stranger'], true]);
      expect(bench.try(release('b'))).toMatchObject({
        ok: false,
        code: 'NOT_FOUND',
        detail: { attachedTo: ['c', 'stranger'] },
      });
    });

    it.each(['up', 'draining'] as const)('stay with a peer that is %s unless forced', (state) => {
      const bench = used();
      bench.do({ op: 'set-node-state', node: 2 as NodeNumber, state });
      expect(bench.try(release('b'))).toMatchObject({
        ok: false,
        code: 'CONFLICT',
        message: expect.stringContaining(state),
      });
      expect(users(bench, 'v')).toContain('b');
      expect(bench.do(release('b', true)).volume?.attachedTo).toEqual(['c', 'stranger']);
    });

    it('stay with a host of which nobody knows unless forced', () => {
      const bench = used();
      expect(bench.try(release('stranger'))).toMatchObject({
        ok: false,
        code: 'CONFLICT',
        message: expect.stringContaining('no peer'),
      });
      expect(bench.do(release('stranger', true)).volume?.attachedTo).toEqual(['b', 'c']);
    });

    it('are released of what they are used by only, and under a proper name', () => {
      const bench = used();
      expect(bench.try(release('a', true))).toMatchObject({ ok: false, code: 'NOT_FOUND' });
      expect(bench.try(release('b', true, 'w'))).toMatchObject({ ok: false, code: 'NOT_FOUND' });
      expect(bench.try(release('', true))).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
      expect(users(bench, 'v')).toEqual(['b', 'c', 'stranger']);
    });
  });
});
