/**
 * The leader's look for what a rollback left behind: locks, orphans and marks of the closed tree at once;
 * then, when contents that were dropped or cut off before are deleted, heads that no snapshot shows. One
 * look passes over some of them and goes on where the last command left it.
 */
import { headType } from './head-types.ts';
import {
  closedTreeReachedKey,
  headsRange,
  type KeyRange,
  keyAfter,
  parseKey,
  shardKindRange,
  volumeKey,
} from './keys.ts';
import { VOLUME } from './records.ts';
import { CLOSED_TREE } from './shard-records.ts';
import type { StateSource } from './state.ts';

/** Heads that one look passes over. */
const LOOKED_AT_MAX = 4096;

const USED_BY_NOBODY = ['locks', 'orphan', 'inlineFile'] as const;
const DELETED_FIRST = ['deadContent', 'contentCut'] as const;

/** Adds keys for 'reclaim': what is garbage in a closed tree, and how far the look has come. */
export async function planClosedTrees(
  state: StateSource,
  keys: Uint8Array[],
  count: number,
): Promise<void> {
  const { from, to } = shardKindRange('closedTree');
  for await (const [key, bytes] of state.scan(from, to, count)) {
    const { subject: tree } = parseKey(key);
    const volumeBytes = state.get(volumeKey(tree));
    // A destroyed one goes as a whole.
    if (volumeBytes === undefined) continue;
    const before = keys.length;
    for (const kind of USED_BY_NOBODY) {
      await collectKeys(state, shardKindRange(kind, tree), keys, count);
    }
    if (keys.length > before || (await isAwaited(state, tree))) continue;
    const heads = headsRange(tree);
    const { after } = CLOSED_TREE.decode(bytes);
    const range = after.length === 0 ? heads : { from: keyAfter(after), to: heads.to };
    const { newestPin } = VOLUME.decode(volumeBytes);
    const reached = await collectYounger(state, range, newestPin, { keys, count });
    keys.push(closedTreeReachedKey(tree, newestPin, reached));
    if (keys.length >= count) return;
  }
}

async function collectKeys(
  state: StateSource,
  { from, to }: KeyRange,
  keys: Uint8Array[],
  count: number,
): Promise<void> {
  if (keys.length >= count) return;
  for await (const [key] of state.scan(from, to, count - keys.length)) keys.push(key);
}

async function isAwaited(
  state: StateSource,
  tree: Parameters<typeof volumeKey>[0],
): Promise<boolean> {
  const found: Uint8Array[] = [];
  for (const kind of DELETED_FIRST) await collectKeys(state, shardKindRange(kind, tree), found, 1);
  return found.length > 0;
}

/** Gives the last entry looked at, or undefined when the range is done. */
async function collectYounger(
  state: StateSource,
  { from, to }: KeyRange,
  newestPin: number,
  { keys, count }: { readonly keys: Uint8Array[]; readonly count: number },
): Promise<Uint8Array | undefined> {
  let looked = 0;
  for await (const [key, bytes] of state.scan(from, to, LOOKED_AT_MAX)) {
    if (headType(parseKey(key).kind).decode(bytes).birth > newestPin) keys.push(key);
    if (++looked === LOOKED_AT_MAX || keys.length >= count) return key;
  }
  return undefined;
}
