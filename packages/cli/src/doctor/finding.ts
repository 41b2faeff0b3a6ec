/** One thing looked at: fine, or what is wrong and the way out. */
export interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly message: string;
}

/** A finding that is `fine` when `ok`, else `wrong`. */
export function finding(check: string, ok: boolean, fine: string, wrong: string): Finding {
  return { check, ok, message: ok ? fine : wrong };
}
