/** The policy of a volume that is made from a backup. */
import type { ClusterClient } from '@holdfast/client';
import type { VolumePolicy } from '@holdfast/protocol';
import { periodText } from '@holdfast/schedule';
import type { VolumeInBackup } from './backup-record.ts';
import { bytesText } from './output.ts';

/** What comes along with a backup. */
export interface PolicyOfThen {
  readonly policy: Partial<VolumePolicy>;
  /** What does not, and what to do about it. */
  readonly left?: string;
}

/**
 * The policy of then but for what is asked for now. As many durable copies as go with the copies that are
 * asked for; a schedule of backups when the cluster knows a repository of the name that they went into.
 */
export async function policyOfThen(
  { repositories }: Pick<ClusterClient, 'repositories'>,
  { record }: { readonly record: VolumeInBackup | undefined },
  asked: Partial<VolumePolicy>,
): Promise<PolicyOfThen> {
  const then = record?.policy ?? {};
  const { minReplicas: _, ...rest } = then;
  const policy = without(asked.replicas === undefined ? then : rest, asked);
  const { backupSchedule: _schedule, backupRepository, backupKeep: _keep, ...others } = policy;
  const into = asked.backupRepository ?? backupRepository;
  if (into === undefined || asked.backupSchedule === '' || into === '') return { policy: others };
  const isKnown = (await repositories.list()).some(({ name }) => name === into);
  if (isKnown || asked.backupRepository !== undefined) return { policy };
  return {
    policy: others,
    left: `its backups at '${then.backupSchedule}' into '${into}': this cluster knows no repository of that name; see 'holdfast backup repo add', then 'holdfast backup schedule set'`,
  };
}

/** A policy without what another one says. */
function without(
  policy: Partial<VolumePolicy>,
  other: Partial<VolumePolicy>,
): Partial<VolumePolicy> {
  return Object.fromEntries(Object.entries(policy).filter(([field]) => !(field in other)));
}

/** What came along and what did not, for people. */
export function policyLines(came: PolicyOfThen | undefined): string[] {
  if (came === undefined) return [];
  const { policy, left } = came;
  const { replicas, quotaBytes = 0, quotaInodes = 0, snapshotSchedule, snapshotKeep } = policy;
  const { backupPeriodMs, backupSchedule, backupRepository, backupKeep = 'all' } = policy;
  const parts = [
    replicas === undefined ? '' : `${replicas} replicas`,
    quotaBytes === 0 ? '' : `a limit of ${bytesText(quotaBytes)}`,
    quotaInodes === 0 ? '' : `a limit of ${quotaInodes} inodes`,
    snapshotSchedule && `snapshots at '${snapshotSchedule}' (${snapshotKeep} stay)`,
    backupSchedule &&
      `backups at '${backupSchedule}' into ${backupRepository} (${backupKeep} stay)`,
    backupPeriodMs === undefined ? '' : `a backup every ${periodText(backupPeriodMs)}`,
  ].filter((part) => part);
  return [
    `came along: ${parts.length === 0 ? 'no policy' : parts.join(', ')}`,
    ...(left === undefined ? [] : [`did not come along: ${left}`]),
  ];
}
