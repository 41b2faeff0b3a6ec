import { PARTITION_COUNT } from '@holdfast/protocol';
import type { Share } from './targets.ts';

/** A partition table under construction: who holds what, and what each node still lacks. */
export class Table {
  readonly rows: number[][];
  readonly #load = new Map<number, number>();
  readonly #zones = new Map<number, string>();
  readonly #perZoneMax: number;

  /** Takes over what is left of a present table: nodes that may still hold replicas, within the rules. */
  constructor(
    shares: readonly Share[],
    present: readonly (readonly number[])[],
    limits: { readonly width: number; readonly perZoneMax: number },
  ) {
    this.#perZoneMax = limits.perZoneMax;
    for (const share of shares) {
      this.#load.set(share.number, 0);
      this.#zones.set(share.number, share.zone);
    }
    this.rows = Array.from({ length: PARTITION_COUNT }, () => []);
    for (let index = 0; index < PARTITION_COUNT; index++) {
      for (const node of present[index] ?? []) {
        if (
          this.#load.has(node) &&
          this.#row(index).length < limits.width &&
          this.fits(index, node)
        )
          this.add(index, node);
      }
    }
  }

  get load(): ReadonlyMap<number, number> {
    return this.#load;
  }

  /** Whether a node may join a partition, perhaps in place of another. */
  fits(index: number, node: number, instead?: number): boolean {
    const row = this.#row(index);
    if (row.includes(node)) return false;
    const zone = this.#zones.get(node);
    let same = 0;
    for (const other of row) if (other !== instead && this.#zones.get(other) === zone) same++;
    return same < this.#perZoneMax;
  }

  add(index: number, node: number): void {
    this.#row(index).push(node);
    this.#count(node, 1);
  }

  replace(index: number, old: number, node: number): void {
    const row = this.#row(index);
    row[row.indexOf(old)] = node;
    this.#count(old, -1);
    this.#count(node, 1);
  }

  #row(index: number): number[] {
    const row = this.rows[index];
    if (row === undefined) throw new RangeError(`no partition ${index}`);
    return row;
  }

  #count(node: number, by: number): void {
    this.#load.set(node, (this.#load.get(node) ?? 0) + by);
  }
}
