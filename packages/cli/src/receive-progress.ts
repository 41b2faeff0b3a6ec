/**
 * How far a resumable receive is: an attribute of the directory that it fills, written when everything before
 * is stored. So it outlives who receives, and goes with the directory.
 */
import type { ClusterClient } from '@holdfast/client';
import {
  HoldfastError,
  type NodeReference,
  STAGE_PREFIX,
  type VolumeRecord,
} from '@holdfast/protocol';
import { parseResumeToken, resumeToken, type StreamPosition } from '@holdfast/transfer';
import { presentOf } from './backup-hold.ts';

/** Names the stage: it is the same for all who go on with it. */
export const RECEIVE_STAGE = 'receive';
const ATTRIBUTE = 'user.holdfast.received';

function asRoot(): { uid: number; gid: number; pid: number; requestId: number } {
  return { uid: 0, gid: 0, pid: 0, requestId: 0 };
}

function isMissing(error: unknown): boolean {
  return error instanceof HoldfastError && ['ENOENT', 'ENODATA'].includes(error.code);
}

/** Writes down how far the stream of a snapshot is stored in a stage. */
export async function noteReceived(
  client: ClusterClient,
  stage: NodeReference,
  { id, position }: { readonly id: string; readonly position: StreamPosition },
): Promise<void> {
  const value = Buffer.from(resumeToken(id, position));
  await client.fileSystem().setXattr(stage, ATTRIBUTE, value, { mode: 'set' }, asRoot());
}

/** The token of what a receive that did not end has left in a volume; undefined when there is none. */
export async function receivedSoFar(
  client: ClusterClient,
  volume: VolumeRecord,
): Promise<string | undefined> {
  const fileSystem = client.fileSystem();
  try {
    const name = `${STAGE_PREFIX}${RECEIVE_STAGE}`;
    const { node } = await fileSystem.lookup(presentOf(volume), name, asRoot());
    const value = await fileSystem.getXattr(node, ATTRIBUTE, asRoot());
    return Buffer.from(value).toString('latin1');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Whether a stream that begins at a position goes on with what was left. */
export function goesOnFrom(left: string, id: string, { inodes, offset }: StreamPosition): boolean {
  const there = parseResumeToken(left);
  const isFar = there.inodes > inodes || (there.inodes === inodes && there.offset >= offset);
  return there.id === id && isFar;
}
