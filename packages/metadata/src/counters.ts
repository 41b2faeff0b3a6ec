import { countersKey } from './keys.ts';
import { COUNTERS, type CountersRecord, FIRST_TREE } from './shard-records.ts';
import type { Transaction } from './transaction.ts';

/** The counters of the shard. */
export function countersOf(transaction: Transaction): CountersRecord {
  const first = {
    nextOrdinal: 1,
    endedSessions: 0,
    nextFreed: 1,
    nextTree: FIRST_TREE,
    barredBefore: 0,
  };
  return transaction.read(COUNTERS, countersKey()) ?? first;
}

/** Changes counters of the shard. */
export function changeCounters(transaction: Transaction, change: Partial<CountersRecord>): void {
  transaction.write(COUNTERS, countersKey(), { ...countersOf(transaction), ...change });
}
