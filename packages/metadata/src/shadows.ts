/**
 * Shadows: closed trees of records of a snapshot that lies in another shard. A clone of it rests on its
 * shadow as others rest on their base. Records come when they are needed, and one after the other in the
 * background; they never change, for the snapshot does not. So what is here is right, and what is not here
 * is *not known*, unless it is known to be absent: then BASE_MISSING, never a guess.
 */
import { HoldfastError, type VolumeNumber } from '@holdfast/protocol';
import { bareKey, parseKey, shadowKey, volumeIn, volumeKey, whiteoutKey } from './keys.ts';
import { VOLUME } from './records.ts';
import { SHADOW, type ShadowRecord } from './shard-records.ts';
import type { StateReader } from './state.ts';

/** The generation that is all of a shadow. */
export const SHADOW_GENERATION = 1;

/** Where a shadow comes from. INTERNAL when it is none. */
function shadowOf(state: StateReader, shadow: VolumeNumber): ShadowRecord {
  const bytes = state.get(shadowKey(shadow));
  if (bytes === undefined) throw new HoldfastError('INTERNAL', 'a shadow without its origin');
  return SHADOW.decode(bytes);
}

/** Whether a head key that a shadow has no record of is known to have none in the snapshot. */
export function isKnownAbsent(state: StateReader, shadow: ShadowRecord, key: Uint8Array): boolean {
  return (
    shadow.isWhole ||
    parseKey(key).ino >= shadow.nextInode ||
    Buffer.compare(bareKey(key), shadow.copied) < 0 ||
    state.get(whiteoutKey(key)) !== undefined
  );
}

/** Throws BASE_MISSING, naming the key, unless it is known that the snapshot has no such record. */
export function wantKnownAbsent(state: StateReader, key: Uint8Array): void {
  if (isKnownAbsent(state, shadowOf(state, volumeIn(key)), key)) return;
  throw new HoldfastError('BASE_MISSING', undefined, { detail: { keys: [Uint8Array.from(key)] } });
}

/** Throws BASE_MISSING unless all records of [from, to), keys of a shadow, are here. */
export function wantRange(
  state: StateReader,
  { from, to }: { readonly from: Uint8Array; readonly to: Uint8Array },
): void {
  const shadow = shadowOf(state, volumeIn(from));
  const isHere =
    shadow.isWhole ||
    parseKey(from).ino >= shadow.nextInode ||
    Buffer.compare(bareKey(to), shadow.copied) <= 0;
  if (!isHere) throw new HoldfastError('BASE_MISSING', undefined, { detail: { keys: [] } });
}

/** Whether a volume rests, at some depth, on a shadow of which records are missing. */
export function restsOnPart(state: StateReader, volume: VolumeNumber): boolean {
  for (let at = volume; ; ) {
    const bytes = state.get(volumeKey(at));
    if (bytes === undefined) return false;
    const { isShadow, baseVolume } = VOLUME.decode(bytes);
    if (isShadow) return !shadowOf(state, at).isWhole;
    if (baseVolume === 0) return false;
    at = baseVolume;
  }
}
