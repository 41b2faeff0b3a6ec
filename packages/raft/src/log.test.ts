import { describe, expect, it } from 'vitest';
import { RaftBug } from './assert.ts';
import { RaftLog } from './log.ts';
import { membershipOf } from './membership.ts';
import type { Entry, SnapshotMeta } from './storage.ts';
import { MemoryLog } from './testing/memory-log.ts';

const entry = (index: number, term: number): Entry => ({
  index,
  term,
  kind: 'normal',
  data: new Uint8Array([index]),
});

/** `terms[i]` is the term of entry i + 1, all durable. */
function stored(terms: readonly number[]): MemoryLog {
  const storage = new MemoryLog(membershipOf([1]));
  storage.stored = terms.map((term, i) => entry(i + 1, term));
  return storage;
}

/** Hands out what is unwritten and lets the storage have it. */
function write(log: RaftLog, storage: MemoryLog, number: number): void {
  const { entries } = log.handOut(number);
  if (entries[0]) storage.stored.length = entries[0].index - 1 - storage.base.index;
  storage.stored.push(...entries);
}

const SNAPSHOT: SnapshotMeta = { index: 10, term: 4, membership: membershipOf([1]) };

describe('entries on their way to the disk', () => {
  it('are handed out once and persisted in order', () => {
    const storage = stored([1]);
    const log = new RaftLog(storage, 0, 0);
    log.append(entry(2, 1));
    write(log, storage, 1);
    log.append(entry(3, 1));
    expect(log.handOut(2).entries.map(({ index }) => index)).toEqual([3]);
    storage.stored.push(entry(3, 1));
    log.markPersisted(1);
    expect([log.persisted, log.lastIndex]).toEqual([2, 3]);
    log.markPersisted(2);
    expect(log.persisted).toBe(3);
    expect(() => log.markPersisted(2)).toThrow(RaftBug);
  });

  it('count for nothing when they were truncated before they were durable', () => {
    const storage = stored([1]);
    const log = new RaftLog(storage, 0, 0);
    log.merge([entry(2, 1), entry(3, 1)]);
    write(log, storage, 1);
    log.merge([entry(2, 2)]);
    write(log, storage, 2);
    log.markPersisted(1);
    expect([log.persisted, log.lastIndex, log.lastTerm]).toEqual([1, 2, 2]);
    log.markPersisted(2);
    expect(log.persisted).toBe(2);
  });

  it('may replace durable ones, which then do not count any more', () => {
    const storage = stored([1, 1, 1]);
    const log = new RaftLog(storage, 0, 0);
    log.merge([entry(2, 2)]);
    expect([log.persisted, log.lastIndex, log.term(3)]).toEqual([1, 2, 'unavailable']);
    expect(log.slice(1, 3, 1000)).toMatchObject([{ term: 1 }, { term: 2 }]);
  });
});

describe('taking over the entries of a leader', () => {
  it.each([
    ['all known', [entry(2, 1), entry(3, 2)], 0, 4],
    ['nothing', [], 0, 4],
    ['new ones', [entry(4, 2), entry(5, 2)], 1, 5],
    ['a conflict', [entry(3, 3), entry(4, 3)], 2, 4],
    ['a conflict that shortens', [entry(2, 3)], 1, 2],
  ])('%s', (_, entries, fresh, last) => {
    const log = new RaftLog(stored([1, 1, 2, 2]), 1, 1);
    expect(log.merge(entries)).toHaveLength(fresh);
    expect(log.lastIndex).toBe(last);
  });

  it('never undoes what is committed', () => {
    const log = new RaftLog(stored([1, 1, 2]), 2, 0);
    expect(() => log.merge([entry(2, 3)])).toThrow(RaftBug);
  });

  it('leaves no gap and goes back in no term', () => {
    const log = new RaftLog(stored([2]), 0, 0);
    expect(() => log.append(entry(3, 2))).toThrow(RaftBug);
    expect(() => log.append(entry(2, 1))).toThrow(RaftBug);
  });
});

describe('the hint after a refusal', () => {
  it('is the last entry whose term is low enough', () => {
    const log = new RaftLog(stored([1, 1, 3, 3, 3, 5]), 0, 0);
    expect(log.lastIndexOfTermAtMost(6, 4)).toEqual({ index: 5, term: 3 });
    expect(log.lastIndexOfTermAtMost(6, 2)).toEqual({ index: 2, term: 1 });
    expect(log.lastIndexOfTermAtMost(99, 9)).toEqual({ index: 6, term: 5 });
    expect(log.lastIndexOfTermAtMost(4, 0)).toEqual({ index: 0, term: 0 });
  });

  it('stops at what was compacted', () => {
    const storage = stored([1, 2, 3, 4]);
    storage.compact(2, membershipOf([1]));
    const log = new RaftLog(storage, 2, 2);
    expect(log.lastIndexOfTermAtMost(4, 1)).toEqual({ index: 1, term: 0 });
  });
});

describe('a snapshot', () => {
  it('replaces the log, and nothing is persisted until it is installed', () => {
    const storage = stored([1, 1]);
    const log = new RaftLog(storage, 1, 1);
    log.restore(SNAPSHOT);
    expect([log.firstIndex, log.lastIndex, log.commit, log.persisted]).toEqual([11, 10, 10, 0]);
    expect([log.term(10), log.term(9), log.applicable]).toEqual([4, 'compacted', 0]);
    expect(log.handOut(1).snapshot).toBe(SNAPSHOT);
    expect(log.handOut(2).snapshot).toBeUndefined();
    storage.base = SNAPSHOT;
    storage.stored = [];
    log.markPersisted(1);
    expect([log.persisted, log.applied, log.term(10)]).toEqual([10, 10, 4]);
  });

  it('takes entries after it before it is installed', () => {
    const storage = stored([1, 1]);
    const log = new RaftLog(storage, 1, 1);
    log.restore(SNAPSHOT);
    log.merge([entry(11, 4)]);
    log.handOut(1);
    storage.base = SNAPSHOT;
    storage.stored = [entry(11, 4)];
    log.markPersisted(1);
    expect(log.persisted).toBe(11);
  });

  it('is not over when an older one is installed', () => {
    const storage = stored([1, 1]);
    const log = new RaftLog(storage, 1, 1);
    log.restore(SNAPSHOT);
    log.handOut(1);
    log.restore({ ...SNAPSHOT, index: 20 });
    log.handOut(2);
    storage.base = SNAPSHOT;
    storage.stored = [];
    log.markPersisted(1);
    expect(log.persisted).toBe(0);
    storage.base = { ...SNAPSHOT, index: 20 };
    log.markPersisted(2);
    expect(log.persisted).toBe(20);
  });

  it('never undoes what is committed', () => {
    const log = new RaftLog(stored(Array.from({ length: 12 }, () => 1)), 11, 0);
    expect(() => log.restore(SNAPSHOT)).toThrow(RaftBug);
  });
});

describe('what may be applied', () => {
  it('is committed and durable here', () => {
    const storage = stored([1, 1]);
    const log = new RaftLog(storage, 1, 0);
    log.append(entry(3, 1));
    log.commitTo(3);
    expect(log.takeCommitted(1000).map(({ index }) => index)).toEqual([1, 2]);
    write(log, storage, 1);
    log.markPersisted(1);
    expect(log.takeCommitted(1000).map(({ index }) => index)).toEqual([3]);
    expect(log.takeCommitted(1000)).toEqual([]);
  });

  it('comes in portions of the size asked for, of one entry at least', () => {
    const log = new RaftLog(stored([1, 1, 1, 1]), 4, 0);
    expect(log.takeCommitted(1)).toHaveLength(1);
    expect(log.takeCommitted(70)).toHaveLength(2);
  });

  it('is never reported beyond what was given out, nor committed beyond the log', () => {
    const log = new RaftLog(stored([1, 1]), 1, 0);
    log.takeCommitted(1000);
    expect(() => log.markApplied(2)).toThrow(RaftBug);
    expect(() => log.commitTo(3)).toThrow(RaftBug);
  });
});
