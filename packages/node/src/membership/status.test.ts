import type { ClusterMap, Epoch, NodeNumber, NodeState } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RepositoryStatus } from './backup-jobs.ts';
import type { BackupStatus } from './backup-watch.ts';
import type { ScheduleStatus } from './snapshot-schedules.ts';
import { type ClusterStatus, describeCluster, type PeerStatus } from './status.ts';

const GIB = 2 ** 30;

function peer(number: number, more: Partial<PeerStatus> & { state?: NodeState } = {}): PeerStatus {
  return {
    number: number as NodeNumber,
    name: `n${number}`,
    grpcAddress: '',
    wireAddress: '',
    adminAddress: '',
    discoveryAddress: '',
    zone: '',
    weight: 1,
    state: 'up',
    incarnation: 'i',
    repair: { behindPartitions: 0, missingChunks: 0 },
    space: { totalBytes: 100 * GIB, freeBytes: 50 * GIB, usedBytes: 50 * GIB },
    ...more,
  };
}

function look(...nodes: readonly PeerStatus[]): ClusterStatus {
  return lookWith([], ...nodes);
}

function lookWith(
  schedules: readonly ScheduleStatus[],
  ...nodes: readonly PeerStatus[]
): ClusterStatus {
  return lookAt({ schedules, nodes });
}

function lookAt({
  schedules = [],
  backups = [],
  repositories = [],
  restores = [],
  nodes = [peer(1), peer(2), peer(3)],
}: {
  readonly schedules?: readonly ScheduleStatus[];
  readonly backups?: readonly BackupStatus[];
  readonly repositories?: readonly RepositoryStatus[];
  readonly restores?: ClusterStatus['restores'];
  readonly nodes?: readonly PeerStatus[];
}): ClusterStatus {
  const map: ClusterMap = {
    clusterId: 'c',
    epoch: 1 as Epoch,
    nodes,
    shards: [],
    partitions: [],
    revoked: [],
  };
  return describeCluster({
    clusterName: 'c',
    self: 1 as NodeNumber,
    map,
    nodes,
    shards: [],
    volumes: 0,
    schedules,
    backups,
    repositories,
    restores,
  });
}

describe('the health of a cluster', () => {
  it('is ok while three peers are up with all their copies and room', () => {
    expect(look(peer(1), peer(2), peer(3))).toMatchObject({ health: 'ok', reasons: [] });
  });

  it.each([
    ['down', { state: 'down' }, 'node.down', /holdfast run/],
    ['being emptied', { state: 'draining' }, 'node.draining', /nothing/],
    [
      'behind with partitions',
      { repair: { behindPartitions: 1, missingChunks: 0 } },
      'repair.behind',
      /nothing/,
    ],
    [
      'without some chunks',
      { repair: { behindPartitions: 0, missingChunks: 1 } },
      'repair.behind',
      /nothing/,
    ],
    [
      'nearly full',
      { space: { totalBytes: 100 * GIB, freeBytes: 4 * GIB, usedBytes: 0 } },
      'space.low',
      /--capacity/,
    ],
  ] as const)('is a warning with a way out while one is %s', (_what, more, code, fix) => {
    expect(look(peer(1), peer(2), peer(3, more))).toMatchObject({
      health: 'warning',
      reasons: [{ code, fix: expect.stringMatching(fix) }],
    });
  });

  it('is a warning while a schedule of snapshots is late, with why', () => {
    const one = { volume: 'db', schedule: '0 * * * *', keep: 'last=1', isLate: true };
    const madeAt = '2026-11-23T20:00:00.000Z';
    const late = { ...one, madeAt, failure: 'no room' };
    const peers = [peer(1), peer(2), peer(3)];
    expect(lookWith([late, { ...one, isLate: false }], ...peers)).toMatchObject({
      health: 'warning',
      reasons: [
        {
          code: 'schedule.late',
          message: expect.stringMatching(/'db' .* since 2026-11-23T20.* two were due: no room/),
          fix: expect.stringMatching(/snapshot ls db/),
        },
      ],
    });
    const { reasons } = lookWith(
      Array.from({ length: 10 }, () => one),
      ...peers,
    );
    expect(reasons.map(({ message }) => message)).toHaveLength(9);
    expect(reasons.at(-1)?.message).toBe('and 2 more volumes');
  });

  it('is a warning while a backup is overdue, or the backups are damaged', () => {
    const counts = { files: 3, bytes: 900, bytesRead: 40, bytesSent: 20, tookMs: 1_500 };
    const last = {
      id: 'ab'.repeat(32),
      at: '2026-11-23T20:00:00.000Z',
      repository: '/r',
      ...counts,
    };
    const verification = { at: '2026-11-24T02:00:00.000Z', readShare: 1, problems: 3 };
    const { health, reasons } = lookAt({
      backups: [
        { volume: 'db', periodMs: 60_000, last, isOverdue: true },
        { volume: 'new', periodMs: 60_000, isOverdue: true },
        { volume: 'bad', last, verification, isOverdue: false },
        { volume: 'good', last, verification: { ...verification, problems: 0 }, isOverdue: false },
      ],
    });
    expect(health).toBe('warning');
    expect(reasons).toMatchObject([
      { code: 'backup.overdue', message: expect.stringMatching(/'db' .* since 2026-11-23T20/) },
      { code: 'backup.overdue', fix: expect.stringMatching(/backup create new/) },
      { code: 'backup.damaged', message: expect.stringMatching(/'bad' at \/r have 3 problems/) },
    ]);
  });

  it('is a warning while a volume could not be filled from its backup, not while it is being filled', () => {
    const going = { volume: 'db', from: 'r:db', state: 'restoring', percent: 4 } as const;
    expect(lookAt({ restores: [going] })).toMatchObject({ health: 'ok', restores: [going] });
    const failed = { volume: 'x', from: 'r:x', state: 'failed', trouble: 'no backup' } as const;
    const { health, reasons } = lookAt({ restores: [failed, going] });
    expect(health).toBe('warning');
    expect(reasons).toMatchObject([
      { code: 'volume.restore-failed', message: expect.stringMatching(/'x' .* r:x: no backup/) },
    ]);
  });

  it('says nothing of a peer that told nothing but that it is down', () => {
    const { repair: _, space: __, ...silent } = peer(3, { state: 'down' });
    expect(look(peer(1), peer(2), silent).reasons.map(({ code }) => code)).toEqual(['node.down']);
  });

  it('is a warning when backups by schedule fail again and again, or a repository is damaged', () => {
    const job = { schedule: '0 * * * *', failures: 2, failure: 'no room' };
    const verification = { at: '2026-01-01T00:00:00.000Z', readShare: 1, problems: 0 };
    const lookFor = (failures: number, problems: number): ClusterStatus => {
      const backups = [{ volume: 'v', isOverdue: false, job: { ...job, failures } }];
      const found = { ...verification, problems };
      const repositories = [
        { name: 'r', place: '/r', verify: { ...job, failures }, verification: found },
      ];
      return lookAt({ backups, repositories });
    };
    expect(lookFor(2, 0)).toMatchObject({ health: 'ok' });
    expect(lookFor(3, 1).reasons).toMatchObject(
      [
        { code: 'backup.failing', message: /volume 'v' failed 3 times, the last time: no room/ },
        { code: 'backup.failing', message: /verification of repository 'r'/ },
        { code: 'backup.damaged', message: /repository 'r' has 1 problems/ },
      ].map((reason) => ({ ...reason, message: expect.stringMatching(reason.message) })),
    );
  });
});
