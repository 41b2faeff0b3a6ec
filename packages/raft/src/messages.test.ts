import { describe, expect, it } from 'vitest';
import { membershipOf } from './membership.ts';
import { checkMessage, type Message } from './messages.ts';
import { TestCluster } from './testing/test-cluster.ts';

const heartbeat = { kind: 'heartbeat', from: 2, to: 1, term: 1, commit: 0, round: 1 } as const;
const entry = (index: number, term: number) =>
  ({ index, term, kind: 'normal', data: new Uint8Array([1]) }) as const;
const append = {
  kind: 'append',
  from: 2,
  to: 1,
  term: 3,
  prevIndex: 4,
  prevTerm: 2,
  commit: 0,
} as const;

describe('a message', () => {
  it.each<[string, Message]>([
    ['to another replica', { ...heartbeat, to: 3 }],
    ['from nobody', { ...heartbeat, from: 0 }],
    ['from oneself', { ...heartbeat, from: 1 }],
    ['of no term', { ...heartbeat, term: 0 }],
    ['of half a term', { ...heartbeat, term: 1.5 }],
    ['with a gap between entries', { ...append, entries: [entry(5, 2), entry(7, 2)] }],
    ['with a gap before the entries', { ...append, entries: [entry(6, 2)] }],
    ['with terms that descend', { ...append, entries: [entry(5, 3), entry(6, 2)] }],
    ['with entries of a later term', { ...append, entries: [entry(5, 4)] }],
    [
      'with a snapshot of a later term',
      {
        kind: 'installSnapshot',
        from: 2,
        to: 1,
        term: 1,
        snapshot: { index: 3, term: 2, membership: membershipOf([1]) },
      },
    ],
  ])('%s is refused and changes nothing', (_, message) => {
    const { group } = new TestCluster(membershipOf([1, 2, 3])).at(1);
    expect(() => group.step(message)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
    expect(group.hasReady()).toBe(false);
  });

  it('that is well formed passes', () => {
    expect(() => checkMessage({ ...append, entries: [entry(5, 2), entry(6, 3)] }, 1)).not.toThrow();
  });
});
