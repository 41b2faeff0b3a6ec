import { type CommandResult, ERROR_TABLE, HoldfastError } from '@holdfast/protocol';

/** A refusal that leaves changes behind: those staged before it was thrown are kept. */
export class CommittedRefusal extends HoldfastError {
  constructor(refusal: HoldfastError) {
    super(refusal.code, refusal.message, { detail: refusal.detail });
  }
}

/**
 * The error as an answer. Inside this package operations refuse by throwing, so that a check deep
 * down needs no help from its callers; at the doors (apply, view) a refusal is a value. What is not
 * a refusal of the caller's request but a broken state is thrown on.
 */
export function refusalOf(error: unknown): Extract<CommandResult, { ok: false }> {
  if (!(error instanceof HoldfastError)) throw error;
  const { kind, meaning } = ERROR_TABLE[error.code];
  if (kind === 'bug' || kind === 'damage') throw error;
  return {
    ok: false,
    code: error.code,
    ...(error.message === meaning ? {} : { message: error.message }),
    ...(Object.keys(error.detail).length === 0 ? {} : { detail: error.detail }),
  };
}

/** Whether the same request would be refused again whatever happens: only then is the answer kept. */
export function isFinal(result: CommandResult): boolean {
  if (result.ok) return true;
  const row = ERROR_TABLE[result.code as keyof typeof ERROR_TABLE];
  return row.kind === 'refusal';
}
