/**
 * Irreducible polynomials over GF(2) of degree 53, the chunker parameter that a repository's config
 * must carry: restic refuses a repository whose polynomial is reducible. A polynomial is a `bigint`,
 * bit i the coefficient of x^i.
 */
const DEGREE = 53;

function degreeOf(polynomial: bigint): number {
  return polynomial === 0n ? -1 : polynomial.toString(2).length - 1;
}

function remainder(value: bigint, modulus: bigint): bigint {
  const degree = degreeOf(modulus);
  let rest = value;
  for (let top = degreeOf(rest); top >= degree; top = degreeOf(rest))
    rest ^= modulus << BigInt(top - degree);
  return rest;
}

/** value^2 mod modulus: squaring over GF(2) spreads the bits, one zero between each two. */
function squared(value: bigint, modulus: bigint): bigint {
  const spread = value.toString(2).split('').join('0');
  return remainder(BigInt(`0b${spread}`), modulus);
}

function commonDivisor(first: bigint, second: bigint): bigint {
  let [a, b] = [first, second];
  while (b !== 0n) [a, b] = [b, remainder(a, b)];
  return a;
}

/** Ben-Or's test: irreducible when gcd(x^(2^i) - x, f) = 1 for every i up to half the degree. */
export function isIrreducible(polynomial: bigint): boolean {
  const degree = degreeOf(polynomial);
  if (degree < 1) return false;
  let power = 2n;
  for (let i = 1; i <= degree / 2; i++) {
    power = squared(power, polynomial);
    if (commonDivisor(polynomial, power ^ 2n) !== 1n) return false;
  }
  return true;
}

/** The first irreducible polynomial of degree 53 in a stream of random 64-bit numbers. */
export function choosePolynomial(random: () => bigint): bigint {
  const mask = (1n << BigInt(DEGREE)) - 1n;
  for (;;) {
    const candidate = (random() & mask) | (1n << BigInt(DEGREE)) | 1n;
    if (isIrreducible(candidate)) return candidate;
  }
}
