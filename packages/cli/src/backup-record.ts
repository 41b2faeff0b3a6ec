/** What a backup says of its volume, `.holdfast/volume.json` in the root of the snapshot. */
import { HoldfastError, type VolumePolicy, type VolumeRecord } from '@holdfast/protocol';
import { parseBackupKeep, parseKeep, Schedule } from '@holdfast/schedule';

/** Where it lies. */
export const RECORD_PATH = '.holdfast/volume.json';
/** Bytes of one that is read. */
export const RECORD_BYTES_MAX = 64 * 1024;

/** A volume as its backup describes it. */
export interface VolumeInBackup {
  readonly name: string;
  readonly policy: Partial<VolumePolicy>;
  /** What it held. */
  readonly usedBytes?: number;
  readonly usedInodes?: number;
}

const POLICY_FIELDS = [
  'replicas',
  'minReplicas',
  'quotaBytes',
  'quotaInodes',
  'uid',
  'gid',
  'mode',
  'backupPeriodMs',
] as const satisfies readonly (keyof VolumePolicy)[];

/** The file's bytes: the same for the same volume, so that a backup without changes writes nothing. */
export function encodeRecord(
  { name, policy }: Pick<VolumeRecord, 'name' | 'policy'>,
  used: { readonly usedBytes: number; readonly usedInodes: number },
): Uint8Array {
  const { usedBytes, usedInodes } = used;
  return Buffer.from(`${JSON.stringify({ version: 1, name, policy, usedBytes, usedInodes })}\n`);
}

/** The schedule of snapshots and what it keeps: both, or neither when one is not understood. */
function scheduleIn({
  snapshotSchedule: schedule,
  snapshotKeep: keep,
}: Readonly<Record<string, unknown>>): Partial<VolumePolicy> {
  if (typeof schedule !== 'string' || typeof keep !== 'string') return {};
  try {
    return { snapshotSchedule: Schedule.parse(schedule).text, snapshotKeep: parseKeep(keep).text };
  } catch {
    return {};
  }
}

/** The schedule of backups, where they go and which stay: all, or nothing when one is not understood. */
function backupsIn({
  backupSchedule: schedule,
  backupRepository: repository,
  backupKeep: keep,
}: Readonly<Record<string, unknown>>): Partial<VolumePolicy> {
  if (typeof schedule !== 'string' || typeof repository !== 'string') return {};
  if (keep !== undefined && typeof keep !== 'string') return {};
  try {
    return {
      backupSchedule: Schedule.parse(schedule).text,
      backupRepository: repository,
      ...(keep === undefined ? {} : { backupKeep: parseBackupKeep(keep).text }),
    };
  } catch {
    return {};
  }
}

function countIn(fields: Readonly<Record<string, unknown>>, name: string): number | undefined {
  const value = fields[name];
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

function fieldsIn(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}

/**
 * A policy that somebody else wrote down, without its schedule of backups; fields that are missing or odd
 * are left out.
 */
export function policyIn(fields: Readonly<Record<string, unknown>>): Partial<VolumePolicy> {
  const counts = POLICY_FIELDS.map((field) => [field, countIn(fields, field)] as const);
  const policy: Partial<VolumePolicy> = Object.fromEntries(
    counts.filter(([, value]) => value !== undefined),
  );
  return { ...policy, ...scheduleIn(fields) };
}

/** The reverse of {@link encodeRecord}; fields that are missing or odd are left out. CORRUPT when it is no JSON. */
export function decodeRecord(bytes: Uint8Array): VolumeInBackup {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new HoldfastError('CORRUPT', `${RECORD_PATH} of the backup is damaged`, { cause });
  }
  const fields = fieldsIn(document);
  const policy = fieldsIn(fields['policy']);
  const [usedBytes, usedInodes] = [countIn(fields, 'usedBytes'), countIn(fields, 'usedInodes')];
  return {
    name: typeof fields['name'] === 'string' ? fields['name'] : '',
    policy: { ...policyIn(policy), ...backupsIn(policy) },
    ...(usedBytes === undefined ? {} : { usedBytes }),
    ...(usedInodes === undefined ? {} : { usedInodes }),
  };
}
