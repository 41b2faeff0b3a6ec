import { HoldfastError } from '@holdfast/protocol';

/**
 * An invariant of consensus does not hold. The driver must stop the process before anything more is
 * written or sent: going on could lose acknowledged entries. Never caught and ignored.
 */
export class RaftBug extends HoldfastError {
  constructor(message: string, detail: Readonly<Record<string, unknown>> = {}) {
    super('INTERNAL', `raft: ${message}`, { detail });
  }
}

/** Throws {@link RaftBug} unless `condition` holds. On in production. */
export function assert(
  condition: boolean,
  message: string,
  detail?: Readonly<Record<string, unknown>>,
): asserts condition {
  if (!condition) throw new RaftBug(message, detail);
}
