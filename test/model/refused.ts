/** The model refuses an operation. */
export class Refused extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** Refuses with a code. */
export function refuse(code: string): never {
  throw new Refused(code);
}
