/** A promise was broken. */
export class CheckFailed extends Error {
  constructor(property: string, what: string) {
    super(`${property}: ${what}`);
    this.name = 'CheckFailed';
  }
}
