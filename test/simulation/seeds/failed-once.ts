/**
 * Seeds that ever showed a fault; run with every change. What a seed means changes with the simulator, so
 * each fault also has a test of its own beside the code it was in. Only added to.
 */
export const FAILED_ONCE: readonly number[] = [
  // A new member whose first probe was lost was never asked again while proposals were refused.
  222, 258,
  // A torn write left entries of a term that the hard state did not know: refused as corrupt.
  1671,
];
