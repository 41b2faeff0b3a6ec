import type { Operation, OperationAnswer } from '@holdfast/protocol';
import type { Context } from '../context.ts';
import { changeCounters, countersOf } from '../counters.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** Chunks made before a second that are not known here never will be. */
export function barChunks({ transaction }: Context, { before }: Of<'bar-chunks'>): OperationAnswer {
  const { barredBefore } = countersOf(transaction);
  if (before > barredBefore) changeCounters(transaction, { barredBefore: before });
  return {};
}
