import { describe, expect, it } from 'vitest';
import { RaftGroup } from './group.ts';
import { membershipOf } from './membership.ts';
import type { ReadState } from './ready.ts';
import type { Entry, LogStorage } from './storage.ts';

/** A log in memory that shows what was handed out. */
class MemoryLog implements LogStorage {
  readonly stored: Entry[] = [];
  firstIndex = () => 1;
  lastIndex = () => this.stored.length;
  term = (index: number) => (index === 0 ? 0 : (this.stored[index - 1]?.term ?? 'unavailable'));
  entries = (from: number, to: number) => this.stored.slice(from - 1, to - 1);
  snapshot = () => ({ index: 0, term: 0, membership: membershipOf([1]) });
}

function settle(
  groups: Map<number, { group: RaftGroup; log: MemoryLog; applied: string[]; reads: ReadState[] }>,
): void {
  for (let busy = true; busy; ) {
    busy = false;
    for (const { group, log, applied, reads } of groups.values()) {
      while (group.hasReady()) {
        busy = true;
        const ready = group.ready();
        for (const message of ready.messages) groups.get(message.to)?.group.step(message);
        if (ready.entries[0]) log.stored.length = ready.entries[0].index - 1;
        log.stored.push(...ready.entries);
        group.advance(ready);
        reads.push(...ready.readStates);
        for (const message of ready.messagesAfterPersist)
          groups.get(message.to)?.group.step(message);
        for (const entry of ready.committed) {
          if (entry.data.length > 0) applied.push(new TextDecoder().decode(entry.data));
          group.applied(entry.index);
        }
      }
    }
  }
}

function cluster(...ids: number[]) {
  return new Map(
    ids.map((id) => {
      const log = new MemoryLog();
      const group = new RaftGroup({
        id,
        storage: log,
        membership: membershipOf(ids),
        applied: 0,
        random: () => id / 10,
        leaseReads: false,
      });
      return [id, { group, log, applied: [] as string[], reads: [] as ReadState[] }];
    }),
  );
}

describe('a group', () => {
  it.each([[[1]], [[1, 2, 3]]])('of %j elects, commits and applies everywhere', (ids) => {
    const groups = cluster(...ids);
    groups.get(1)!.group.campaign();
    settle(groups);
    expect(groups.get(1)!.group.status()).toMatchObject({ role: 'leader', commit: 1 });
    for (const word of ['a', 'b', 'c'])
      groups.get(1)!.group.propose(new TextEncoder().encode(word));
    settle(groups);
    groups.get(1)!.group.tick();
    settle(groups);
    for (const { applied } of groups.values()) expect(applied).toEqual(['a', 'b', 'c']);
    expect(groups.get(1)!.group.readIndex(7)).toBe('accepted');
    settle(groups);
    expect(groups.get(1)!.reads).toEqual([{ context: 7, index: 4 }]);
  });
});
