import type { ClusterStatus, JobStatus, PeerStatus } from '@holdfast/node';
import { periodText } from '@holdfast/schedule';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { bytesText, durationText, table } from '../output.ts';

/** `holdfast status` */
export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show the health of the cluster, its peers and shards')
    .action(async (_options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const status = await admin<ClusterStatus>('GET', '/v1/status');
      output.result(status, () => statusLines(status));
    });
}

/** What `holdfast status` prints. */
export function statusLines(status: ClusterStatus): string[] {
  const moving =
    status.partitions.moving === 0
      ? 'all partitions in place'
      : `${status.partitions.moving} partitions moving`;
  return [
    `cluster ${status.clusterId}: ${status.health}, map epoch ${status.epoch}, ${status.volumes} volumes, ${moving}`,
    ...status.reasons.flatMap(({ code, message, fix }) => [
      `  ${code}: ${message}`,
      `    next: ${fix}`,
    ]),
    '',
    ...table(
      ['NODE', 'NAME', 'STATE', 'FREE', 'OF', 'BEHIND', 'MISSING'],
      status.nodes.map((node) => [
        String(node.number),
        node.name,
        node.state,
        ...(node.space === undefined
          ? ['-', '-']
          : [bytesText(node.space.freeBytes), bytesText(node.space.totalBytes)]),
        ...(node.repair === undefined
          ? ['-', '-']
          : [`${node.repair.behindPartitions} partitions`, `${node.repair.missingChunks} chunks`]),
      ]),
    ),
    '',
    ...table(
      ['SHARD', 'LEADER', 'MEMBERS', 'TERM', 'COMMIT', 'APPLIED'],
      status.shards.map((shard) => [
        shard.shard === 0 ? '0 (system)' : String(shard.shard),
        shard.leader === 0 ? 'none' : String(shard.leader),
        shard.members.join(','),
        String(shard.term),
        String(shard.commit),
        String(shard.applied),
      ]),
    ),
    ...scheduleLines(status),
    ...backupLines(status, Date.now()),
    ...repositoryLines(status),
    ...restoreLines(status),
  ];
}

/** Said of what a volume that is half filled keeps from being done. */
const WAITS = 'waits until the volume is filled';

/** Schedules shown to people; programs see up to 256. */
const SCHEDULES_SHOWN = 20;

function scheduleLines({ schedules }: ClusterStatus): string[] {
  if (schedules.length === 0) return [];
  const rows = schedules
    .slice(0, SCHEDULES_SHOWN)
    .map(({ volume, schedule, made = 'none yet', madeAt = '-', nextAt = '-', isLate, waits }) => [
      volume,
      schedule,
      made,
      madeAt,
      [...(isLate ? ['late'] : []), ...(waits === undefined ? [] : [WAITS])].join(', ') || nextAt,
    ]);
  const rest = schedules.length - rows.length;
  return [
    '',
    ...table(['VOLUME', 'SCHEDULE', 'LAST SNAPSHOT', 'MADE', 'NEXT'], rows),
    ...(rest > 0 ? [`and ${rest} more; see 'holdfast --json status'`] : []),
  ];
}

/** Backups shown to people; programs see up to 256. */
const BACKUPS_SHOWN = 20;

function backupLines({ backups }: ClusterStatus, nowMs: number): string[] {
  if (backups.length === 0) return [];
  const rows = backups
    .slice(0, BACKUPS_SHOWN)
    .map(({ volume, periodMs, last, verification, isOverdue, job }) => [
      volume,
      periodText(periodMs ?? 0),
      last === undefined ? 'none' : `${durationText(Math.max(0, nowMs - Date.parse(last.at)))} ago`,
      last === undefined ? '-' : bytesText(last.bytes),
      last === undefined ? '-' : bytesText(last.bytesSent),
      verification === undefined ? 'no' : `${verification.problems} problems`,
      job?.nextAt ?? '-',
      [isOverdue ? 'overdue' : 'ok', ...jobText(job)].reverse().join(', '),
    ]);
  const rest = backups.length - rows.length;
  return [
    '',
    ...table(['VOLUME', 'BACKUP EVERY', 'LAST', 'SIZE', 'SENT', 'VERIFIED', 'NEXT', 'STATE'], rows),
    ...(rest > 0 ? [`and ${rest} more; see 'holdfast --json status'`] : []),
  ];
}

/** What a job does now, or why it does not. */
function jobText(job: JobStatus | undefined): string[] {
  if (job?.running !== undefined) {
    const { host, progress } = job.running;
    const { bytes = 0, bytesExpected } = progress ?? {};
    const of = bytesExpected === undefined ? '' : ` of ${bytesText(bytesExpected)}`;
    return [`runs on ${host}${progress === undefined ? '' : `: ${bytesText(bytes)}${of}`}`];
  }
  if (job?.waits !== undefined) return [WAITS];
  return job === undefined || job.failures === 0 ? [] : [`failed ${job.failures} times`];
}

function repositoryLines({ repositories }: ClusterStatus): string[] {
  if (repositories.length === 0) return [];
  const cells = (job: JobStatus | undefined): string[] => [
    job === undefined ? 'by nobody' : (job.doneAt ?? 'never'),
    job?.nextAt ?? '-',
  ];
  const rows = repositories
    .slice(0, BACKUPS_SHOWN)
    .map(({ name, prune, verify, verification }) => [
      name,
      ...cells(prune),
      ...cells(verify),
      [
        verification === undefined ? 'not verified' : `${verification.problems} problems`,
        ...jobText(prune),
        ...jobText(verify),
      ].join(', '),
    ]);
  const rest = repositories.length - rows.length;
  return [
    '',
    ...table(['REPOSITORY', 'PRUNED', 'NEXT', 'VERIFIED', 'NEXT', 'STATE'], rows),
    ...(rest > 0 ? [`and ${rest} more; see 'holdfast --json status'`] : []),
  ];
}

/** Restores shown to people; programs see up to 256. */
const RESTORES_SHOWN = 20;

function restoreLines({ restores }: ClusterStatus): string[] {
  if (restores.length === 0) return [];
  const rows = restores
    .slice(0, RESTORES_SHOWN)
    .map(({ volume, from, state, percent, host = '-' }) => [
      volume,
      from,
      state,
      percent === undefined ? '-' : `${percent} %`,
      host,
    ]);
  const rest = restores.length - rows.length;
  return [
    '',
    ...table(['VOLUME', 'FROM BACKUP', 'STATE', 'DONE', 'ON'], rows),
    ...(rest > 0 ? [`and ${rest} more; see 'holdfast --json status'`] : []),
  ];
}

/** What `holdfast node ls` prints. `-`: nobody could tell. */
export function nodeLines(nodes: readonly PeerStatus[]): string[] {
  return table(
    ['NODE', 'NAME', 'STATE', 'ZONE', 'EPOCH', 'LAST SEEN', 'ADDRESS'],
    nodes.map((node) => [
      String(node.number),
      node.name,
      node.state,
      node.zone,
      node.epoch === undefined ? '-' : String(node.epoch),
      node.silentMs === undefined ? '-' : `${durationText(node.silentMs)} ago`,
      node.wireAddress,
    ]),
  );
}
