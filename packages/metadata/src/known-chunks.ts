import {
  type ChunkId,
  HoldfastError,
  INTERNAL_SESSION,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { countersOf } from './counters.ts';
import { afterVolume, chunkIn, chunkKey, keyAfter, volumeIn, volumeRange } from './keys.ts';
import type { StateSource } from './state.ts';
import { Transaction } from './transaction.ts';
import type { ViewRequest } from './views.ts';

/** The look. */
export type KnownChunksView = Extract<View, { view: 'known-chunks' }>;

/** Records that one scan takes from the state. */
const SCAN_ENTRIES = 128;

/** Above all keys. */
const END = Uint8Array.of(0xff, 0xff, 0xff, 0xff);

/**
 * Which of some chunks any tree of the shard has a record of, given up or not. Behind the bar no record
 * comes, however long the scans take: so it is read first. And again at the end, since a state that is
 * taken away under our hands has neither.
 */
export async function knownChunks(
  state: StateSource,
  { session, view: { chunks } }: ViewRequest<KnownChunksView>,
): Promise<ViewAnswers['known-chunks']> {
  if (session !== INTERNAL_SESSION)
    throw new HoldfastError('FORBIDDEN', 'only peers of the cluster look at this');
  const before = barOn(state);
  const known = new Set<ChunkId>();
  const wanted = [...new Set(chunks)].sort();
  for await (const tree of treesOf(state)) {
    for await (const chunk of knownIn(state, tree, wanted)) known.add(chunk);
  }
  return { known: [...known], barredBefore: Math.min(before, barOn(state)) };
}

function barOn(state: StateSource): number {
  return countersOf(new Transaction(state)).barredBefore;
}

/** Numbers under which anything lies: volumes, their trees and shadows, dead ones included. */
async function* treesOf(state: StateSource): AsyncGenerator<VolumeNumber> {
  let from = volumeRange(1 as VolumeNumber).from;
  for (;;) {
    let tree: VolumeNumber | undefined;
    for await (const [key] of state.scan(from, END, 1)) tree = volumeIn(key);
    if (tree === undefined) return;
    yield tree;
    from = afterVolume(tree);
  }
}

/** Those of the wanted ones (ascending) that a tree has; where many lie between two of them it leaps. */
async function* knownIn(
  state: StateSource,
  tree: VolumeNumber,
  wanted: readonly ChunkId[],
): AsyncGenerator<ChunkId> {
  const end = wanted.at(-1);
  if (end === undefined) return;
  const to = keyAfter(chunkKey(tree, end));
  const asked = new Set(wanted);
  let last: ChunkId | undefined;
  for (const next of wanted) {
    if (last !== undefined && next <= last) continue;
    let found = 0;
    for await (const [key] of state.scan(chunkKey(tree, next), to, SCAN_ENTRIES)) {
      found++;
      last = chunkIn(key);
      if (asked.has(last)) yield last;
    }
    if (found < SCAN_ENTRIES) return;
  }
}
