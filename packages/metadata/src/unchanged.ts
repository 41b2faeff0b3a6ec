/** Whether two versions of an inode are the same to users: what the leader tidies up behind them does not count. */
import type { InodeNumber, VolumeNumber } from '@holdfast/protocol';
import { xattrsKey } from './keys.ts';
import { type InodeRecord, XATTRS } from './records.ts';
import type { StateSource } from './state.ts';
import { recordAt } from './versions.ts';

/** A version of an inode, and the tree and generation that show it. */
export interface Shown {
  readonly tree: VolumeNumber;
  readonly generation: number;
  readonly record: InodeRecord;
}

/** The version of its bytes: grows by one with each change that a user made. */
export function bytesVersionOf({ contentVersion, moves }: InodeRecord): number {
  return contentVersion - moves;
}

/**
 * Whether no user has changed the inode or its extended attributes between the two. The names in a
 * directory are not looked at: that they changed shows in its times alone.
 */
export function isUnchanged(state: StateSource, ino: InodeNumber, a: Shown, b: Shown): boolean {
  return (
    stateText(a.record) === stateText(b.record) &&
    Buffer.compare(xattrsAt(state, ino, a), xattrsAt(state, ino, b)) === 0
  );
}

/** All of it that a user can change. */
function stateText(record: InodeRecord): string {
  const {
    birth: _birth,
    cuts: _cuts,
    inlineBytes: _inline,
    allocatedBytes: _allocated,
    contentVersion: _version,
    moves: _moves,
    ...rest
  } = record;
  return JSON.stringify({ ...rest, bytes: bytesVersionOf(record) }, (_key, value: unknown) =>
    typeof value === 'bigint' ? `${value}n` : value,
  );
}

function xattrsAt(state: StateSource, ino: InodeNumber, { tree, generation }: Shown): Uint8Array {
  const record = recordAt(state, XATTRS, xattrsKey(tree, ino), generation);
  return XATTRS.encode({ birth: 1, entries: record?.entries ?? [] });
}
