/**
 * Work that the leader of a shard does beside its clients: what to look for, on settled state. Every
 * function only looks; the change is a command of INTERNAL_SESSION.
 */
import type { ChunkId, InodeNumber, Operation, SessionId, VolumeNumber } from '@holdfast/protocol';
import { isCutOff } from './content/cuts.ts';
import {
  contentRange,
  deadVolumeKey,
  freedChunkKey,
  inodeKey,
  type KeyRange,
  keyAfter,
  ordinalKey,
  parseKey,
  perInodeKey,
  regionKey,
  sessionKey,
  shardKindRange,
  volumeKey,
  volumeRange,
} from './keys.ts';
import { recordsAt } from './past-scan.ts';
import { planClosedTrees } from './plan-closed-trees.ts';
import { planVersions } from './plan-versions.ts';
import { FREED_CHUNK, INODE, REGION, VOLUME } from './records.ts';
import { restsOnPart } from './shadows.ts';
import { DEAD_VOLUME, LOCKS, ORPHAN, SESSION, SESSION_ID } from './shard-records.ts';
import type { StateReader, StateSource } from './state.ts';
import { homeOf } from './trees.ts';
import { recordAt } from './versions.ts';

/** Records that one look takes from the state at a time. */
const SCAN_ENTRIES_MAX = 1024;

/** All entries of a range, a bounded scan at a time. */
async function* entriesOf(
  state: StateSource,
  range: KeyRange,
): AsyncGenerator<[Uint8Array, Uint8Array]> {
  let from = range.from;
  for (;;) {
    let found = 0;
    for await (const entry of state.scan(from, range.to, SCAN_ENTRIES_MAX)) {
      found++;
      from = keyAfter(entry[0]);
      yield entry;
    }
    if (found < SCAN_ENTRIES_MAX) return;
  }
}

/** A chunk to which nothing refers any more. */
export interface FreedChunk {
  /** For 'chunks-collected' and for going on after it; ascending in the order of giving up. */
  readonly place: number;
  readonly chunk: ChunkId;
  readonly volume: VolumeNumber;
  /** Bytes of the whole chunk. */
  readonly length: number;
  /** Time of the command that gave it up: collect only after a grace, readers may still be at it. */
  readonly timeNs: bigint;
}

/** Up to `count` freed chunks after a place (0: from the oldest). */
export async function freedChunks(
  state: StateSource,
  after: number,
  count: number,
): Promise<FreedChunk[]> {
  const found: FreedChunk[] = [];
  const { to } = shardKindRange('freedChunk');
  for await (const [key, bytes] of state.scan(freedChunkKey(after + 1), to, count)) {
    const { chunk, volume, length, timeNs } = FREED_CHUNK.decode(bytes);
    const place = parseKey(key).number;
    found.push({ place, chunk, volume: volume as VolumeNumber, length, timeNs });
  }
  return found;
}

/** An inode of the shard. */
export interface InodeOfShard {
  /** For 'move-inline': the tree under whose number its records lie. */
  readonly volume: VolumeNumber;
  readonly ino: InodeNumber;
}

/** Up to `count` files with inline bytes after one (undefined: from the first): work for 'move-inline'. */
export async function filesWithInline(
  state: StateSource,
  after: InodeOfShard | undefined,
  count: number,
): Promise<InodeOfShard[]> {
  const range = shardKindRange('inlineFile');
  const from =
    after === undefined ? range.from : keyAfter(perInodeKey('inlineFile', after.volume, after.ino));
  const found: InodeOfShard[] = [];
  for await (const [key] of state.scan(from, range.to, count)) {
    const { subject, ino } = parseKey(key);
    found.push({ volume: subject, ino });
  }
  return found;
}

function isClosed(state: StateReader, tree: VolumeNumber): boolean {
  const bytes = state.get(volumeKey(tree));
  return bytes !== undefined && VOLUME.decode(bytes).isClosed;
}

/**
 * The orphans that a session has not let go yet: to be announced to it when it connects to a new
 * leader. Later ones are told by `orphan` in the answers of the commands that made them.
 */
export async function orphansToAnnounce(
  state: StateSource,
  session: SessionId,
): Promise<InodeOfShard[]> {
  const bytes = state.get(sessionKey(session));
  const ordinal = bytes === undefined ? 0 : SESSION.decode(bytes).ordinal;
  const found: InodeOfShard[] = [];
  if (ordinal === 0) return found;
  for await (const [key, record] of entriesOf(state, shardKindRange('orphan'))) {
    if (!ORPHAN.decode(record).holders.includes(ordinal)) continue;
    const { subject, ino } = parseKey(key);
    // What was open before a rollback is void, and let go by itself.
    if (!isClosed(state, subject)) found.push({ volume: homeOf(state, subject), ino });
  }
  return found;
}

/** A session that is open. */
export interface OpenSession {
  readonly session: SessionId;
  readonly host: string;
}

/** All open sessions of the shard: a new leader waits a lease for each before it expires any. */
export async function openSessions(state: StateSource): Promise<OpenSession[]> {
  const found: OpenSession[] = [];
  for await (const [, bytes] of entriesOf(state, shardKindRange('ordinal'))) {
    const { session } = SESSION_ID.decode(bytes);
    const record = state.get(sessionKey(session));
    if (record !== undefined) found.push({ session, host: SESSION.decode(record).host });
  }
  return found;
}

/**
 * The next 'reclaim' of at most about `count` keys, or undefined when the state holds no garbage.
 * Order: what ended sessions held, destroyed volumes, contents and cut-off parts of files, what only
 * removed snapshots saw, what a rollback left behind.
 */
export async function planReclaim(
  state: StateSource,
  count: number,
): Promise<Extract<Operation, { op: 'reclaim' }> | undefined> {
  const keys: Uint8Array[] = [];
  const plans = [planSessions, planVolumes, planContents, planCuts, planVersions, planClosedTrees];
  for (const plan of plans) {
    await plan(state, keys, count);
    if (keys.length >= count) break;
  }
  return keys.length === 0 ? undefined : { op: 'reclaim', keys };
}

function isOpenOrdinal(state: StateReader, ordinal: number): boolean {
  return state.get(ordinalKey(ordinal)) !== undefined;
}

async function planSessions(state: StateSource, keys: Uint8Array[], count: number): Promise<void> {
  const ended: Uint8Array[] = [];
  for await (const [key] of state.scan(...bounds('endedSession'), count)) ended.push(key);
  if (ended.length === 0) return;
  const isOver = (ordinal: number): boolean => !isOpenOrdinal(state, ordinal);
  for await (const [key, bytes] of entriesOf(state, shardKindRange('locks'))) {
    const { posix, flock } = LOCKS.decode(bytes);
    if ([...posix, ...flock].some(({ holder }) => isOver(holder))) keys.push(key);
    if (keys.length >= count) return;
  }
  for await (const [key, bytes] of entriesOf(state, shardKindRange('orphan'))) {
    if (ORPHAN.decode(bytes).holders.some(isOver)) keys.push(key);
    if (keys.length >= count) return;
  }
  // All that the sessions held is in the plan, or was gone before: their marks may go with it.
  keys.push(...ended);
}

function bounds(kind: Parameters<typeof shardKindRange>[0]): [Uint8Array, Uint8Array] {
  const { from, to } = shardKindRange(kind);
  return [from, to];
}

const TABLES_BY_VOLUME = [
  'locks',
  'orphan',
  'inlineFile',
  'deadContent',
  'contentCut',
  'unpinned',
  'closedTree',
] as const;

async function planVolumes(state: StateSource, keys: Uint8Array[], count: number): Promise<void> {
  for await (const [key, bytes] of entriesOf(state, shardKindRange('deadVolume'))) {
    if (DEAD_VOLUME.decode(bytes).empty) continue;
    const volume = parseKey(key).subject;
    const tables = TABLES_BY_VOLUME.map((kind) => shardKindRange(kind, volume));
    for (const range of [volumeRange(volume), ...tables]) {
      await collectKeys(state, range, keys, count);
      if (keys.length >= count) return;
    }
    keys.push(key);
  }
}

async function collectKeys(
  state: StateSource,
  range: KeyRange,
  keys: Uint8Array[],
  count: number,
): Promise<void> {
  for await (const [key] of state.scan(range.from, range.to, count - keys.length)) keys.push(key);
}

function isDeadVolume(state: StateReader, volume: VolumeNumber): boolean {
  return state.get(deadVolumeKey(volume)) !== undefined;
}

async function planContents(state: StateSource, keys: Uint8Array[], count: number): Promise<void> {
  for await (const [key] of entriesOf(state, shardKindRange('deadContent'))) {
    const { subject, ino: content } = parseKey(key);
    if (isDeadVolume(state, subject)) continue;
    await collectKeys(state, contentRange(subject, content), keys, count);
    if (keys.length >= count) return;
    keys.push(key);
  }
}

async function planCuts(state: StateSource, keys: Uint8Array[], count: number): Promise<void> {
  for await (const [key] of entriesOf(state, shardKindRange('contentCut'))) {
    const { subject: volume, ino, number: epoch } = parseKey(key);
    // What was cut off below is found when all of it is here.
    if (isDeadVolume(state, volume) || restsOnPart(state, volume)) continue;
    const now = Number.MAX_SAFE_INTEGER;
    const inode = recordAt(state, INODE, inodeKey(volume, ino), now);
    const cut = inode?.cuts.find((other) => other.epoch === epoch);
    if (inode !== undefined && cut !== undefined) {
      const range = {
        from: regionKey(volume, inode.content, cut.from),
        to: regionKey(volume, inode.content, cut.to),
      };
      for await (const [region, record] of recordsAt(state, REGION, range, now)) {
        if (!isCutOff([cut], parseKey(region).number, record)) continue;
        keys.push(region);
        if (keys.length >= count) return;
      }
    }
    keys.push(key);
  }
}
