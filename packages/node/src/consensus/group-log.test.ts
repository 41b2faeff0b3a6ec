import { type Entry, membershipOf } from '@holdfast/raft';
import { describe, expect, it } from 'vitest';
import { GroupLog, type Place } from './group-log.ts';

const MEMBERS = membershipOf([1, 2, 3]);

function entry(index: number, term = 1, bytes = 10): Entry {
  return { index, term, kind: 'normal', data: new Uint8Array(bytes).fill(index) };
}

/** A log whose evicted entries are looked up by their place in `disk`. */
function logOver(disk: Map<string, Entry>): GroupLog {
  const readBack = ({ segment, offset }: Place) => disk.get(`${segment}/${offset}`)!;
  const log = new GroupLog(1, readBack);
  log.restart({ index: 0, term: 0, membership: MEMBERS });
  return log;
}

const at = (offset: number, segment = 1): Place => ({ segment, offset });

describe('log of a group', () => {
  it('gives at least one entry and no more bytes than asked for', () => {
    const log = logOver(new Map());
    log.append([entry(1), entry(2), entry(3)]);
    const indices = (bytesMax: number) => {
      const entries = log.entries(1, 4, bytesMax);
      return entries === 'compacted' ? entries : entries.map(({ index }) => index);
    };
    expect(indices(1)).toEqual([1]);
    expect(indices(20)).toEqual([1, 2]);
    expect(indices(1000)).toEqual([1, 2, 3]);
    log.compact({ index: 2, term: 1, membership: MEMBERS });
    expect(indices(1000)).toBe('compacted');
    expect([log.firstIndex(), log.lastIndex(), log.term(2), log.term(1)]).toEqual([
      3,
      3,
      1,
      'compacted',
    ]);
  });

  it('keeps what is not written in memory, and reads the rest back', () => {
    const disk = new Map([['1/0', entry(1)]]);
    const log = logOver(disk);
    const entries = [entry(1), entry(2)];
    log.append(entries);
    log.evict(1000);
    expect(log.cachedBytes).toBe(20);
    log.written(entries[0]!, at(0));
    log.evict(1000);
    expect(log.cachedBytes).toBe(10);
    expect(log.entries(1, 3, 1000)).toEqual(entries);
    log.append([entry(2, 2, 30)]);
    expect(log.cachedBytes).toBe(30);
    log.append([entry(1, 3, 5)]);
    expect([log.cachedBytes, log.lastIndex()]).toEqual([5, 1]);
  });

  it('does not take the new place of an old entry for that of its successor', () => {
    const disk = new Map([['9/0', entry(2, 1)]]);
    const log = logOver(disk);
    const old = entry(2, 1);
    log.append([entry(1), old], at(0));
    // While the old one is written elsewhere, a leader of a later term replaces it.
    const successor = entry(2, 5);
    log.append([successor]);
    log.moved(old, at(0, 9));
    log.evict(1000);
    expect(log.entries(2, 3, 1000)).toEqual([successor]);
    log.written(old, at(0, 9));
    log.evict(1000);
    expect(log.entries(2, 3, 1000)).toEqual([successor]);
  });

  it('knows the oldest segment that it needs', () => {
    const log = logOver(new Map());
    expect(log.oldestSegment()).toBe(Number.POSITIVE_INFINITY);
    log.append([entry(1)], at(0, 3));
    log.append([entry(2)], at(0, 4));
    log.hardStatePlace = at(0, 5);
    log.markPlace = at(0, 2);
    expect([log.oldestSegment(), log.oldestEntrySegment()]).toEqual([2, 3]);
    log.compact({ index: 1, term: 1, membership: MEMBERS });
    expect(log.oldestEntrySegment()).toBe(4);
  });
});
