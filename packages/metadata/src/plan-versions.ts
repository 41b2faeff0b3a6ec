/**
 * The leader's look for what only removed snapshots saw. A snapshot of generation g that was removed
 * is the reason for garbage only among versions that died after g and not after the next pin, so the
 * look is one range of the table of deaths; it goes on where the last command left it.
 */
import {
  deathsRange,
  headOfDeath,
  historyKey,
  type KeyRange,
  keyAfter,
  parseKey,
  pinsKey,
  shardKindRange,
  unpinnedKey,
  volumeKey,
} from './keys.ts';
import { hasPin, pinAfter } from './pins.ts';
import { DEATH, PINS, UNPINNED, VOLUME } from './records.ts';
import type { StateSource } from './state.ts';

/** Entries of the table of deaths that one look passes over. */
const LOOKED_AT_MAX = 4096;

/** Adds keys for 'reclaim': versions that are garbage, and how far the look has come. */
export async function planVersions(
  state: StateSource,
  keys: Uint8Array[],
  count: number,
): Promise<void> {
  const { from, to } = shardKindRange('unpinned');
  for await (const [key, bytes] of state.scan(from, to, 1)) {
    const { subject: volume, ino: generation } = parseKey(key);
    const volumeBytes = state.get(volumeKey(volume));
    // A destroyed volume goes as a whole.
    if (volumeBytes === undefined) return;
    const pinBytes = state.get(pinsKey(volume));
    const pins = pinBytes === undefined ? [] : PINS.decode(pinBytes).generations;
    const last = Math.min(pinAfter(pins, generation), VOLUME.decode(volumeBytes).generation);
    const all = deathsRange(volume, generation + 1, last);
    const { after } = UNPINNED.decode(bytes);
    const range = after.length === 0 ? all : { from: keyAfter(after), to: all.to };
    const reached = await collectGarbage(state, range, pins, { keys, count });
    keys.push(unpinnedKey(volume, generation, reached));
  }
}

/** Gives the last entry looked at, or undefined when the range is done. */
async function collectGarbage(
  state: StateSource,
  { from, to }: KeyRange,
  pins: readonly number[],
  { keys, count }: { readonly keys: Uint8Array[]; readonly count: number },
): Promise<Uint8Array | undefined> {
  let looked = 0;
  for await (const [key, bytes] of state.scan(from, to, LOOKED_AT_MAX)) {
    const { head, death } = headOfDeath(key);
    if (!hasPin(pins, DEATH.decode(bytes).birth, death)) keys.push(historyKey(head, death));
    if (++looked === LOOKED_AT_MAX || keys.length >= count) return key;
  }
  return undefined;
}
