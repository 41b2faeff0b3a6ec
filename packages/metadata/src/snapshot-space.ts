/**
 * What removing one snapshot would give back. Its own versions are those that no other pin sees; they
 * died after it and not after the next pin, one range of the table of deaths. A chunk comes free when
 * all its live bytes are theirs. Cost: the versions that died in that range, and memory for the ids of
 * their chunks.
 */
import type { ChunkId, ViewAnswers } from '@holdfast/protocol';
import { tallyOf } from './content/pieces.ts';
import type { Context } from './context.ts';
import { volumeOf } from './context.ts';
import {
  chunkKey,
  deathsRange,
  headOfDeath,
  historyKey,
  KIND,
  keyAfter,
  parseKey,
} from './keys.ts';
import { hasPin, pinAfter, pinsOf } from './pins.ts';
import { BLOB, CHUNK, DEATH, HISTORY, REGION } from './records.ts';
import { snapshotRecordOf } from './snapshots.ts';
import type { StateSource } from './state.ts';

const PAGE_ENTRIES = 1024;

/** Exact for the state that was settled when it was asked. ESTALE. */
export async function snapshotSpace(
  state: StateSource,
  context: Context,
  generation: number,
): Promise<ViewAnswers['snapshot-space']> {
  const { volume, transaction } = context;
  snapshotRecordOf(transaction, volume, generation);
  const pins = pinsOf(transaction, volume);
  const others = pins.filter((pin) => pin !== generation);
  const last = Math.min(pinAfter(pins, generation), volumeOf(context).generation);
  const chunks = new Map<ChunkId, number>();
  let inlineBytes = 0;
  for await (const { kind, record } of versionsBetween(state, context, generation, last, others)) {
    if (kind === KIND.blob) inlineBytes += BLOB.decode(record).bytes.length;
    if (kind !== KIND.region) continue;
    for (const [chunk, bytes] of tallyOf(REGION.decode(record).pieces).chunks) {
      chunks.set(chunk, (chunks.get(chunk) ?? 0) + bytes);
    }
  }
  let chunkBytes = 0;
  for (const [chunk, bytes] of chunks) {
    const known = state.get(chunkKey(volume, chunk));
    if (known === undefined) continue;
    const { liveBytes, length } = CHUNK.decode(known);
    if (liveBytes === bytes) chunkBytes += length;
  }
  return { chunkBytes, inlineBytes };
}

/** Versions that died after a generation, up to another one, and that none of the pins sees. */
async function* versionsBetween(
  state: StateSource,
  { volume }: Context,
  generation: number,
  last: number,
  pins: readonly number[],
): AsyncGenerator<{ readonly kind: number; readonly record: Uint8Array }> {
  const range = deathsRange(volume, generation + 1, last);
  let { from } = range;
  for (let found = PAGE_ENTRIES; found === PAGE_ENTRIES; ) {
    found = 0;
    for await (const [key, bytes] of state.scan(from, range.to, PAGE_ENTRIES)) {
      found++;
      from = keyAfter(key);
      const { head, death } = headOfDeath(key);
      const { birth } = DEATH.decode(bytes);
      if (birth > generation || hasPin(pins, birth, death)) continue;
      const version = state.get(historyKey(head, death));
      if (version === undefined) continue;
      yield { kind: parseKey(head).kind, record: HISTORY.decode(version).record };
    }
  }
}
