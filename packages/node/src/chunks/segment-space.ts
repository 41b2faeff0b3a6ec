/** Bytes in use and not in use any more, by segment. */
export class SegmentSpace {
  readonly #segments = new Map<number, { live: number; dead: number }>();

  lived(segment: number, bytes: number): void {
    this.#of(segment).live += bytes;
  }

  /** A record that was live is so no more. */
  died(segment: number, bytes: number): void {
    const space = this.#of(segment);
    space.live = Math.max(0, space.live - bytes);
    space.dead += bytes;
  }

  /** A record that never was live: a tombstone, a torn or superseded one. */
  dead(segment: number, bytes: number): void {
    this.#of(segment).dead += bytes;
  }

  /** Whether the segment exists, as far as is known. */
  has(segment: number): boolean {
    return this.#segments.has(segment);
  }

  forget(segment: number): void {
    this.#segments.delete(segment);
  }

  of(segment: number): { readonly live: number; readonly dead: number } {
    return this.#segments.get(segment) ?? { live: 0, dead: 0 };
  }

  segments(): Iterable<number> {
    return this.#segments.keys();
  }

  get liveBytes(): number {
    let sum = 0;
    for (const space of this.#segments.values()) sum += space.live;
    return sum;
  }

  get totalBytes(): number {
    let sum = 0;
    for (const space of this.#segments.values()) sum += space.live + space.dead;
    return sum;
  }

  #of(segment: number): { live: number; dead: number } {
    let space = this.#segments.get(segment);
    if (space === undefined) {
      space = { live: 0, dead: 0 };
      this.#segments.set(segment, space);
    }
    return space;
  }
}

/** The closed, eligible segment with the largest dead part, if that is more than `deadFraction`. */
export function compactionCandidate(
  space: SegmentSpace,
  growing: number,
  deadFraction: number,
  isEligible: (segment: number, live: number) => boolean,
): number | undefined {
  let best: number | undefined;
  let bestFraction = deadFraction;
  for (const segment of space.segments()) {
    const { live, dead } = space.of(segment);
    const fraction = dead / Math.max(1, live + dead);
    if (segment < growing && fraction > bestFraction && isEligible(segment, live)) {
      best = segment;
      bestFraction = fraction;
    }
  }
  return best;
}
