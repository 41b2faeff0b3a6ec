/**
 * Volumes that are neither what they were nor what they are to be: something is being restored, imported or
 * received into them, or who did it died. What shows it lies in the root, and so in each snapshot of then.
 */
import {
  backupSourceText,
  HoldfastError,
  type InodeNumber,
  type LockRequest,
  RECEIVES_AT,
  RECEIVING_NAME,
  RESTORES_AT,
  ROOT_INODE,
  restoreText,
  STAGE_AMONG,
  STAGE_PREFIX,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { LookInShard } from '../rpc/shard-service.ts';

/** What is in the way of taking a volume for whole. */
export interface Filling {
  /** For people: what it is, until when, what to do. */
  readonly message: string;
  /** Whether who does it lives, or lately did. */
  readonly isUnderWay: boolean;
}

/** CONFLICT, recognized by isFillingError. */
export function fillingError({ message }: Filling): HoldfastError {
  return new HoldfastError('CONFLICT', message, { detail: { filling: true } });
}

/** A volume that was made from a backup, and has not got all of it. */
function unfilled({ name, restore }: VolumeRecord): Filling | undefined {
  if (restore === undefined || restore.state === 'done') return undefined;
  const isUnderWay = restore.state === 'restoring';
  const what = `volume '${name}' is not complete: ${restoreText(restore)} from ${backupSourceText(restore.source)}`;
  const advice = isUnderWay
    ? "try again when it is ('holdfast volume ls' tells how far it is)"
    : 'ask for the volume again to have it filled, or remove it';
  return { message: `${what}; ${advice}`, isUnderWay };
}

/** Whether a volume is half filled now. Throws an outage. */
export async function fillingOf(
  look: LookInShard,
  record: VolumeRecord,
): Promise<Filling | undefined> {
  const known = unfilled(record);
  if (known !== undefined) return known;
  const [restore, isReceiving, stage] = await Promise.all([
    restoring(look, record),
    hasEntry(look, record, RECEIVING_NAME),
    stageIn(look, record),
  ]);
  if (restore !== undefined) return restore;
  if (isReceiving) return receiving(record, await isLocked(look, record, RECEIVES_AT));
  if (stage === undefined) return undefined;
  return staged(record, stage.name, await isLocked(look, record, 'flock', stage.ino));
}

/** Whether a snapshot shows a volume that was half filled when it was taken. Throws ESTALE, or an outage. */
export async function isHalf(
  look: LookInShard,
  record: VolumeRecord,
  generation: number,
): Promise<boolean> {
  const [isReceiving, stage] = await Promise.all([
    hasEntry(look, record, RECEIVING_NAME, generation),
    stageIn(look, record, generation),
  ]);
  return isReceiving || stage !== undefined;
}

/** Whether somebody restores into the volume as it is. */
export async function restoring(
  look: LookInShard,
  record: VolumeRecord,
): Promise<Filling | undefined> {
  if (!(await isLocked(look, record, RESTORES_AT))) return undefined;
  const message = `something is being restored into volume '${record.name}'; try again when that has ended (one who died is noticed after 10 seconds)`;
  return { message, isUnderWay: true };
}

function receiving({ name }: VolumeRecord, isUnderWay: boolean): Filling {
  const message = isUnderWay
    ? `volume '${name}' is receiving a change from another cluster; try again when that has ended`
    : `a receive into volume '${name}' was killed; run 'holdfast volume receive' again, or roll the volume back to its last snapshot ('holdfast snapshot ls ${name}')`;
  return { message, isUnderWay };
}

function staged({ name }: VolumeRecord, stage: string, isUnderWay: boolean): Filling {
  const message = isUnderWay
    ? `volume '${name}' is being filled by an import, a restore or a receive; try again when that has ended`
    : `what filled volume '${name}' was killed; do it again, or remove '${stage}' from the volume's root`;
  return { message, isUnderWay };
}

async function isLocked(
  look: LookInShard,
  { shard, number }: VolumeRecord,
  what: number | 'flock',
  ino: InodeNumber = ROOT_INODE,
): Promise<boolean> {
  const range =
    what === 'flock'
      ? { family: 'flock', start: 0, end: Number.MAX_SAFE_INTEGER }
      : { family: 'posix', start: what, end: what + 1 };
  const lock = { ...range, type: 'write', owner: '0', pid: 0 } as LockRequest;
  const view = { view: 'test-lock', ino, lock } as const;
  return (await look(shard, number, view)).conflict !== undefined;
}

async function hasEntry(
  look: LookInShard,
  { shard, number }: VolumeRecord,
  name: string,
  at?: number,
): Promise<boolean> {
  const view = { view: 'lookup', parent: ROOT_INODE, name } as const;
  try {
    await look(shard, number, at === undefined ? view : { ...view, at });
    return true;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'ENOENT') return false;
    throw error;
  }
}

async function stageIn(
  look: LookInShard,
  { shard, number }: VolumeRecord,
  at?: number,
): Promise<{ readonly name: string; readonly ino: InodeNumber } | undefined> {
  const view = { view: 'read-directory', ino: ROOT_INODE, after: 0, count: STAGE_AMONG } as const;
  const page = await look(shard, number, at === undefined ? view : { ...view, at });
  const found = page.entries.find(({ name }) => name.startsWith(STAGE_PREFIX));
  return found === undefined ? undefined : { name: found.name, ino: found.attributes.ino };
}
