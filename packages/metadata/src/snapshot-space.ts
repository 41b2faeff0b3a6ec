/**
 * What removing one snapshot would give back. Its own versions are those that no other pin sees; they
 * died after it and not after the next pin, one range of the table of deaths. A chunk comes free when
 * all its live bytes are theirs. Those of what nothing shows any more count until they are deleted: so it
 * is told whether there is any. Cost: the versions that died in that range, and memory for the ids of
 * their chunks.
 */
import type { ChunkId, ViewAnswers } from '@holdfast/protocol';
import { tallyOf } from './content/pieces.ts';
import type { Context } from './context.ts';
import { volumeOf } from './context.ts';
import { headType } from './head-types.ts';
import {
  chunkKey,
  deathsRange,
  headOfDeath,
  headsRange,
  historyKey,
  KIND,
  keyAfter,
  parseKey,
  shardKindRange,
  snapshotKey,
} from './keys.ts';
import { hasPin, pinAfter, pinsOf } from './pins.ts';
import { BLOB, CHUNK, DEATH, HISTORY, REGION, SNAPSHOT } from './records.ts';
import { snapshotRecordOf } from './snapshots.ts';
import type { StateSource } from './state.ts';

const PAGE_ENTRIES = 1024;

type Space = ViewAnswers['snapshot-space'];

const NOTHING: Space = { chunkBytes: 0, inlineBytes: 0, isSettled: true };
/** Marks of what nothing shows any more and is not deleted yet. */
const WAITING = ['unpinned', 'deadContent', 'contentCut', 'closedTree'] as const;

/** Exact when it is settled, else the least that it is; of the state when it was asked. ESTALE. */
export async function snapshotSpace(
  state: StateSource,
  context: Context,
  generation: number,
): Promise<Space> {
  const record = snapshotRecordOf(context.transaction, context.volume, generation);
  // Its clones, or what the volume was rolled back to, go on showing all of it.
  if (record.clones.length > 0) return NOTHING;
  return spaceOf(state, context, generation);
}

/** What unpinning a generation gives back, together with what ends with it. */
async function spaceOf(state: StateSource, context: Context, generation: number): Promise<Space> {
  const { volume, transaction } = context;
  // What a shadow shows belongs to another shard.
  if (volumeOf(context).isShadow) return NOTHING;
  const own = await ownSpace(state, context, generation);
  const { isClosed, baseVolume, baseGeneration } = volumeOf(context);
  if (!isClosed || baseVolume === 0 || pinsOf(transaction, volume).length > 1) return own;
  const base = transaction.read(SNAPSHOT, snapshotKey(baseVolume, baseGeneration));
  const isLast = base?.removed === true && base.clones.length === 1;
  if (!isLast) return own;
  const below = await spaceOf(state, { ...context, volume: baseVolume }, baseGeneration);
  return {
    chunkBytes: own.chunkBytes + below.chunkBytes,
    inlineBytes: own.inlineBytes + below.inlineBytes,
    isSettled: own.isSettled && below.isSettled,
  };
}

/** Whether nothing of a tree waits to be deleted. */
async function isTreeSettled(state: StateSource, { volume }: Context): Promise<boolean> {
  for (const kind of WAITING) {
    const { from, to } = shardKindRange(kind, volume);
    for await (const _ of state.scan(from, to, 1)) return false;
  }
  return true;
}

/** What unpinning a generation gives back of the tree that it is in. */
async function ownSpace(state: StateSource, context: Context, generation: number): Promise<Space> {
  const { volume, transaction } = context;
  const pins = pinsOf(transaction, volume);
  const others = pins.filter((pin) => pin !== generation);
  const last = Math.min(pinAfter(pins, generation), volumeOf(context).generation);
  const chunks = new Map<ChunkId, number>();
  let inlineBytes = 0;
  const versions = versionsBetween(state, context, generation, last, others);
  for await (const { kind, record } of concat(versions, headsSeenBy(state, context, generation))) {
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
  return { chunkBytes, inlineBytes, isSettled: await isTreeSettled(state, context) };
}

interface Found {
  readonly kind: number;
  readonly record: Uint8Array;
}

async function* concat(...parts: readonly AsyncIterable<Found>[]): AsyncGenerator<Found> {
  for (const part of parts) yield* part;
}

/**
 * Heads of a tree that a rollback closed, as far as only its last snapshot shows them: nothing of them
 * has died. Costs as much as the tree holds.
 */
async function* headsSeenBy(
  state: StateSource,
  context: Context,
  generation: number,
): AsyncGenerator<Found> {
  const { isClosed, newestPin } = volumeOf(context);
  if (!isClosed || generation !== newestPin) return;
  const { volume, transaction } = context;
  const before = pinsOf(transaction, volume).at(-2) ?? 0;
  const range = headsRange(volume);
  let { from } = range;
  for (let found = PAGE_ENTRIES; found === PAGE_ENTRIES; ) {
    found = 0;
    for await (const [key, record] of state.scan(from, range.to, PAGE_ENTRIES)) {
      found++;
      from = keyAfter(key);
      const { kind } = parseKey(key);
      const { birth } = headType(kind).decode(record);
      if (birth > before && birth <= generation) yield { kind, record };
    }
  }
}

/** Versions that died after a generation, up to another one, and that none of the pins sees. */
async function* versionsBetween(
  state: StateSource,
  { volume }: Context,
  generation: number,
  last: number,
  pins: readonly number[],
): AsyncGenerator<Found> {
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
