/** Pins: which generations of a volume somebody may still read. */
import type { VolumeNumber } from '@holdfast/protocol';
import { pinsKey } from './keys.ts';
import { PINS } from './records.ts';
import type { Transaction } from './transaction.ts';

/** The pinned generations of a volume, ascending. */
export function pinsOf(transaction: Transaction, volume: VolumeNumber): readonly number[] {
  return transaction.read(PINS, pinsKey(volume))?.generations ?? [];
}

/** Whether one of the pins, ascending, lies in [birth, death). */
export function hasPin(pins: readonly number[], birth: number, death: number): boolean {
  const first = pins[firstFrom(pins, birth)];
  return first !== undefined && first < death;
}

/** The least pin above a generation; Infinity when there is none. */
export function pinAfter(pins: readonly number[], generation: number): number {
  return pins[firstFrom(pins, generation + 1)] ?? Number.POSITIVE_INFINITY;
}

/** Index of the first pin that is not below a generation. */
function firstFrom(pins: readonly number[], generation: number): number {
  let low = 0;
  let high = pins.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((pins[middle] as number) < generation) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether a pinned generation sees a version. Reads the list of pins only when the newest does not decide. */
export function isPinned(
  transaction: Transaction,
  volume: VolumeNumber,
  life: { readonly birth: number; readonly death: number; readonly newestPin: number },
): boolean {
  const { birth, death, newestPin } = life;
  if (newestPin < birth || death <= birth) return false;
  return newestPin < death || hasPin(pinsOf(transaction, volume), birth, death);
}
