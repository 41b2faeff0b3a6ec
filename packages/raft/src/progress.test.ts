import { describe, expect, it } from 'vitest';
import { Progress, Window } from './progress.ts';

const LIMITS = { messagesMax: 2, bytesMax: 100 };

/** A follower that holds `match`, in the state of replicating. */
function replicating(match: number): Progress {
  const progress = new Progress(2, match + 1, LIMITS);
  progress.acknowledge(match);
  progress.becomeReplicate();
  return progress;
}

describe('the window of a follower', () => {
  it('is full by messages or by bytes, and frees what was confirmed', () => {
    const window = new Window(LIMITS);
    window.add(1, 10);
    expect(window.isFull).toBe(false);
    window.add(2, 10);
    expect(window.isFull).toBe(true);
    window.freeTo(1);
    expect([window.isFull, window.length, window.bytes]).toEqual([false, 1, 10]);
    window.add(3, 90);
    window.freeTo(2);
    expect([window.isFull, window.length, window.bytes]).toEqual([false, 1, 90]);
    window.add(4, 10);
    expect(window.isFull).toBe(true);
    window.freeTo(9);
    expect([window.length, window.bytes]).toEqual([0, 0]);
  });
});

describe('a probe', () => {
  it('sends one message and waits', () => {
    const progress = new Progress(2, 5, LIMITS);
    expect(progress.maySend(9)).toBe(true);
    progress.sent(9, 50);
    expect([progress.maySend(9), progress.next]).toEqual([false, 5]);
  });

  it('is sent again when a heartbeat was answered, also when it carries nothing', () => {
    const progress = new Progress(2, 10, LIMITS);
    progress.sent(9, 0);
    progress.heard(9);
    expect(progress.maySend(9)).toBe(true);
  });

  it('goes back to the hint when it is refused, and never below what was confirmed', () => {
    const progress = new Progress(2, 10, LIMITS);
    expect(progress.reject(9, 4)).toBe(true);
    expect([progress.next, progress.maySend(9)]).toEqual([5, true]);
    progress.acknowledge(6);
    progress.becomeProbe(9);
    progress.reject(8, 2);
    expect(progress.next).toBe(7);
  });

  it('passes over an old refusal', () => {
    const progress = new Progress(2, 10, LIMITS);
    expect(progress.reject(7, 3)).toBe(false);
    expect(progress.next).toBe(10);
  });
});

describe('replicating', () => {
  it('runs ahead of the answers until the window is full', () => {
    const progress = replicating(3);
    progress.sent(4, 10);
    progress.sent(6, 10);
    expect([progress.next, progress.match, progress.maySend(9)]).toEqual([7, 3, false]);
    expect(progress.acknowledge(4)).toBe(true);
    expect(progress.maySend(9)).toBe(true);
  });

  it('probes from what was confirmed after a refusal or a broken connection', () => {
    const refused = replicating(3);
    refused.sent(9, 10);
    expect(refused.reject(9, 3)).toBe(true);
    expect([refused.state, refused.next, refused.window.length]).toEqual(['probe', 4, 0]);
    const broken = replicating(3);
    broken.sent(9, 10);
    broken.unreachable();
    expect([broken.state, broken.next]).toEqual(['probe', 4]);
  });

  it('passes over a refusal of what has been confirmed since', () => {
    const progress = replicating(5);
    expect(progress.reject(5, 2)).toBe(false);
    expect(progress.state).toBe('replicate');
  });

  it('asks when nothing moved between two heartbeats though something is on the way', () => {
    const progress = replicating(3);
    progress.sent(4, 10);
    progress.heard(4);
    expect(progress.maySend(4)).toBe(false);
    progress.heard(4);
    expect(progress.maySend(4)).toBe(true);
    progress.sent(4, 0);
    expect([progress.maySend(4), progress.window.length]).toEqual([false, 1]);
  });

  it('does not ask while answers come', () => {
    const progress = replicating(3);
    progress.sent(4, 10);
    progress.heard(4);
    progress.acknowledge(4);
    progress.sent(5, 10);
    progress.heard(5);
    expect(progress.maySend(5)).toBe(false);
  });
});

describe('a snapshot on the way', () => {
  const sending = () => {
    const progress = new Progress(2, 5, LIMITS);
    progress.becomeSnapshot(20);
    return progress;
  };

  it('stops entries, whatever is heard', () => {
    const progress = sending();
    progress.heard(30);
    expect([progress.maySend(30), progress.pendingSnapshot]).toEqual([false, 20]);
    expect(progress.reject(4, 1)).toBe(false);
  });

  it('is followed by entries after it when it arrived, once the follower is heard', () => {
    const progress = sending();
    progress.snapshotDone(true);
    expect([progress.state, progress.next, progress.maySend(30)]).toEqual(['probe', 21, false]);
    progress.heard(30);
    expect(progress.maySend(30)).toBe(true);
  });

  it('is followed by entries from where the follower was when it failed', () => {
    const progress = sending();
    progress.snapshotDone(false);
    expect([progress.state, progress.next]).toEqual(['probe', 1]);
  });

  it('is reported twice in vain', () => {
    const progress = replicating(3);
    progress.snapshotDone(false);
    expect(progress.state).toBe('replicate');
  });
});
