/** Which names, addresses and policies the registry takes. */
import {
  isRepositoryName,
  LIMITS,
  REPOSITORY_NAME_MAX,
  type VolumePolicy,
} from '@holdfast/protocol';
import { type NodeFacts, REGISTRY_LIMITS } from './cluster-commands.ts';

const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const NODE_NAME = /^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$/;
const HOST_AND_PORT = /^(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):([0-9]{1,5})$/;

/** Most copies of one chunk. */
export const REPLICAS_MAX = 7;
const UID_MAX = 2 ** 32 - 2;

/** A volume as it is kept when nothing else is asked for. */
export const DEFAULT_POLICY: VolumePolicy = {
  replicas: 3,
  minReplicas: 2,
  quotaBytes: 0,
  quotaInodes: 0,
  uid: 0,
  gid: 0,
  mode: 0o755,
};

/** Which scheduled snapshots stay when nothing else is asked for. */
export const DEFAULT_SNAPSHOT_KEEP = 'hourly=24,daily=7,weekly=4,monthly=12';
/** When backups are made into a repository when nothing else is asked for: every day. */
const DEFAULT_BACKUP_SCHEDULE = '0 0 * * *';
/** Milliseconds within which a backup may be asked for: from a minute to a year of 366 days. */
const BACKUP_PERIOD_MS = [60_000, 366 * 86_400_000] as const;
/** Characters of a schedule, and of what to keep. */
export const SCHEDULE_TEXT_MAX = 256;

/** What is wrong with a volume's name, as a sentence; undefined when it is right. */
export function checkVolumeName(name: string): string | undefined {
  if (name.length === 0) return 'a volume needs a name';
  if (name.length > LIMITS.volumeNameBytesMax) {
    return `a volume's name has at most ${LIMITS.volumeNameBytesMax} bytes, not ${name.length}`;
  }
  if (VOLUME_NAME.test(name)) return undefined;
  return `'${printable(name)}' is no volume name: it begins with a letter or digit and goes on with letters, digits, '_', '.' and '-'`;
}

/** What is wrong with the name of a repository; undefined when it is right. */
export function checkRepositoryName(name: string): string | undefined {
  if (isRepositoryName(name)) return undefined;
  return `'${printable(name)}' is no name for a repository: 1 to ${REPOSITORY_NAME_MAX} letters, digits, '_', '.' and '-', with a letter or digit first`;
}

/** What is wrong with a peer's, zone's or host's name; undefined when it is right. */
export function checkNodeName(name: string): string | undefined {
  if (name.length > REGISTRY_LIMITS.nameBytesMax) {
    return `a peer's or zone's name has at most ${REGISTRY_LIMITS.nameBytesMax} bytes, not ${name.length}`;
  }
  if (NODE_NAME.test(name)) return undefined;
  return `'${printable(name)}' is no name for a peer or zone: letters, digits, '_', '.' and '-', with a letter or digit first and last`;
}

/** What is wrong with host:port; undefined when it is right. IPv6 addresses stand in brackets. */
export function checkAddress(address: string): string | undefined {
  const port = Number(HOST_AND_PORT.exec(address)?.[2] ?? 0);
  if (port >= 1 && port <= 65_535) return undefined;
  return `'${printable(address)}' is no address: HOST:PORT with a port from 1 to 65535, an IPv6 host in brackets`;
}

/** What is wrong with what a peer says of itself; undefined when nothing is. */
export function checkFacts(facts: NodeFacts): string | undefined {
  const { weight } = facts;
  const addresses = [facts.grpcAddress, facts.wireAddress, facts.adminAddress];
  const wrong =
    checkNodeName(facts.name) ??
    checkNodeName(facts.zone) ??
    addresses.map(checkAddress).find((sentence) => sentence !== undefined);
  if (wrong !== undefined) return wrong;
  if (!(weight >= 0 && weight <= REGISTRY_LIMITS.weightMax)) {
    return `a weight is a number from 0 to ${REGISTRY_LIMITS.weightMax}, not ${weight}`;
  }
  return /^[0-9a-f]{32}$/.test(facts.incarnation)
    ? undefined
    : 'an incarnation has 32 hexadecimal digits';
}

/**
 * The whole policy made of what was asked for and `base`, or a sentence saying what is wrong. Fewer
 * durable copies than a majority of `replicas` must be asked for in so many words.
 */
export function completePolicy(
  asked: Partial<VolumePolicy>,
  base: VolumePolicy = DEFAULT_POLICY,
): VolumePolicy | string {
  const replicas = asked.replicas ?? base.replicas;
  const kept = asked.replicas === undefined ? base.minReplicas : undefined;
  const minReplicas = asked.minReplicas ?? kept ?? Math.floor(replicas / 2) + 1;
  const { quotaBytes, quotaInodes, uid, gid, mode } = { ...base, ...asked };
  const snapshots = completeSchedule(asked, base);
  if (typeof snapshots === 'string') return snapshots;
  const counts = { replicas, minReplicas, quotaBytes, quotaInodes, uid, gid, mode };
  const backupPeriodMs = asked.backupPeriodMs ?? base.backupPeriodMs ?? 0;
  const scheduled = completeBackups(asked, base);
  if (typeof scheduled === 'string') return scheduled;
  const backups = { ...(backupPeriodMs === 0 ? {} : { backupPeriodMs }), ...scheduled };
  const policy: VolumePolicy = { ...counts, ...snapshots, ...backups };
  return (
    range('replicas', replicas, 1, REPLICAS_MAX) ??
    range('min-replicas', minReplicas, 1, replicas) ??
    range('size', quotaBytes, 0, LIMITS.fileBytesMax) ??
    range('inodes', quotaInodes, 0, LIMITS.inodesMax) ??
    range('uid', uid, 0, UID_MAX) ??
    range('gid', gid, 0, UID_MAX) ??
    range('mode', mode, 0, 0o7777) ??
    (backupPeriodMs === 0
      ? undefined
      : range('backup-period', backupPeriodMs, ...BACKUP_PERIOD_MS)) ??
    policy
  );
}

type SnapshotPolicy = Pick<VolumePolicy, 'snapshotSchedule' | 'snapshotKeep'>;

/** '' as a schedule takes it away. What the texts mean is checked where they are given. */
function completeSchedule(
  asked: Partial<VolumePolicy>,
  base: VolumePolicy,
): SnapshotPolicy | string {
  const schedule = asked.snapshotSchedule ?? base.snapshotSchedule ?? '';
  if (schedule === '' && (asked.snapshotKeep ?? '') !== '')
    return 'what snapshots to keep is said together with a snapshot schedule; give that too';
  if (schedule === '') return {};
  const keep = asked.snapshotKeep ?? base.snapshotKeep ?? DEFAULT_SNAPSHOT_KEEP;
  if (keep === '')
    return 'a snapshot schedule keeps something; give a rule such as hourly=24,daily=7';
  const isText = [schedule, keep].every(
    (text) => typeof text === 'string' && text.length <= SCHEDULE_TEXT_MAX,
  );
  if (!isText) return `a snapshot schedule is a text of at most ${SCHEDULE_TEXT_MAX} characters`;
  return { snapshotSchedule: schedule, snapshotKeep: keep };
}

type BackupPolicy = Pick<VolumePolicy, 'backupSchedule' | 'backupRepository' | 'backupKeep'>;

/** '' as a schedule or a repository takes both away, as a rule keeps all. */
function completeBackups(asked: Partial<VolumePolicy>, base: VolumePolicy): BackupPolicy | string {
  const isOff = asked.backupSchedule === '' || asked.backupRepository === '';
  const others = [asked.backupSchedule, asked.backupRepository, asked.backupKeep];
  if (isOff && others.some(Boolean))
    return 'a backup schedule is set or taken away, not both at once';
  if (isOff) return {};
  const repository = asked.backupRepository ?? base.backupRepository ?? '';
  const schedule =
    asked.backupSchedule ?? base.backupSchedule ?? (repository && DEFAULT_BACKUP_SCHEDULE);
  const keep = asked.backupKeep ?? base.backupKeep ?? '';
  if (repository === '' && schedule + keep === '') return {};
  if (repository === '')
    return 'backups by schedule go into a repository that the cluster knows by name; give that too';
  if (![schedule, keep].every((text) => text.length <= SCHEDULE_TEXT_MAX))
    return `a backup schedule is a text of at most ${SCHEDULE_TEXT_MAX} characters`;
  return {
    backupSchedule: schedule,
    backupRepository: repository,
    ...(keep === '' ? {} : { backupKeep: keep }),
  };
}

/** Whether two policies say the same. */
export function samePolicy(a: VolumePolicy, b: VolumePolicy): boolean {
  const keys = Object.keys(DEFAULT_POLICY) as (keyof VolumePolicy)[];
  return keys.every((key) => a[key] === b[key]) && sameSchedule(a, b) && sameBackups(a, b);
}

/** Whether they make and keep the same backups. */
function sameBackups(a: VolumePolicy, b: VolumePolicy): boolean {
  const keys = ['backupPeriodMs', 'backupSchedule', 'backupRepository', 'backupKeep'] as const;
  return keys.every((key) => a[key] === b[key]);
}

/** Whether they make and keep the same snapshots. */
function sameSchedule(a: VolumePolicy, b: VolumePolicy): boolean {
  return a.snapshotSchedule === b.snapshotSchedule && a.snapshotKeep === b.snapshotKeep;
}

function range(what: string, value: number, low: number, high: number): string | undefined {
  if (Number.isSafeInteger(value) && value >= low && value <= high) return undefined;
  return `${what} is a whole number from ${low} to ${high}, not ${String(value)}`;
}

/** Foreign text in an error: short, and without control characters. */
function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 80);
}
