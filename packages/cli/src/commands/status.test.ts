import type { ClusterStatus, PeerStatus } from '@holdfast/node';
import type { Epoch, NodeNumber, ShardId } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { nodeLines, statusLines } from './status.ts';

const told: PeerStatus = {
  number: 1 as NodeNumber,
  name: 'n1',
  grpcAddress: '10.0.0.1:7400',
  wireAddress: '10.0.0.1:7401',
  adminAddress: '10.0.0.1:7402',
  discoveryAddress: '',
  zone: 'rack-a',
  weight: 1,
  state: 'up',
  incarnation: 'i',
  epoch: 7,
  silentMs: 1_900,
  space: { totalBytes: 100 * 2 ** 30, freeBytes: 12.5 * 2 ** 30, usedBytes: 2 ** 30 },
  repair: { behindPartitions: 3, missingChunks: 40 },
};
const { epoch: _e, silentMs: _s, space: _p, repair: _r, ...record } = told;
const silent: PeerStatus = { ...record, number: 2 as NodeNumber, name: 'n2', state: 'down' };

const status: ClusterStatus = {
  clusterId: 'c',
  clusterName: 'c',
  health: 'warning',
  reasons: [{ code: 'node.down', message: "peer 2 'n2' is down", fix: 'start it' }],
  epoch: 7 as Epoch,
  answeredBy: 1 as NodeNumber,
  nodes: [told, silent],
  shards: [
    {
      shard: 0 as ShardId,
      leader: 1 as NodeNumber,
      term: 2,
      commit: 9,
      applied: 9,
      members: [1, 2] as NodeNumber[],
    },
  ],
  partitions: { settled: 16_384, moving: 0 },
  volumes: 4,
  schedules: [],
  backups: [],
  repositories: [],
  restores: [],
};

describe('holdfast status', () => {
  it('shows what runs of backups, prunes and verifications, and what fails', () => {
    const due = { schedule: '0 * * * *', nextAt: '2026-11-23T21:00:00.000Z', failures: 0 };
    const progress = { files: 1, bytes: 2_048, bytesExpected: 4_096 };
    const running = { host: 'h2', since: '2026-11-23T20:00:00.000Z', progress };
    const backups = [
      { volume: 'a', isOverdue: true, job: { ...due, failures: 4, failure: 'no room' } },
      { volume: 'b', isOverdue: false, job: { ...due, running } },
      { volume: 'c', isOverdue: false, job: { ...due, waits: 'it is being filled' } },
    ];
    const verification = { at: '2026-11-23T20:00:00.000Z', readShare: 1, problems: 0 };
    const repositories = [
      {
        name: 'r',
        place: '/r',
        prune: { ...due, running: { host: 'h1', since: '' } },
        verification,
      },
    ];
    const lines = statusLines({ ...status, backups, repositories });
    expect(lines.slice(-7)).toEqual([
      'VOLUME  BACKUP EVERY  LAST  SIZE  SENT  VERIFIED  NEXT                      STATE',
      'a       none          none  -     -     no        2026-11-23T21:00:00.000Z  failed 4 times, overdue',
      'b       none          none  -     -     no        2026-11-23T21:00:00.000Z  runs on h2: 2 KiB of 4 KiB, ok',
      'c       none          none  -     -     no        2026-11-23T21:00:00.000Z  waits until the volume is filled, ok',
      '',
      'REPOSITORY  PRUNED  NEXT                      VERIFIED   NEXT  STATE',
      'r           never   2026-11-23T21:00:00.000Z  by nobody  -     0 problems, runs on h1',
    ]);
  });

  it('shows the last scheduled snapshot of each volume, and those that are late', () => {
    const due = { schedule: '0 * * * *', keep: 'hourly=24' };
    const made = { made: 'auto-2026-11-23T20-00Z', madeAt: '2026-11-23T20:00:01.000Z' };
    const schedules = [
      { volume: 'new', ...due, isLate: true },
      { volume: 'half', ...due, isLate: true, waits: 'it is being filled' },
      { volume: 'db', ...due, ...made, isLate: false, nextAt: '2026-11-23T21:00:00.000Z' },
    ];
    expect(statusLines({ ...status, schedules }).slice(-4)).toEqual([
      'VOLUME  SCHEDULE   LAST SNAPSHOT           MADE                      NEXT',
      'new     0 * * * *  none yet                -                         late',
      'half    0 * * * *  none yet                -                         late, waits until the volume is filled',
      'db      0 * * * *  auto-2026-11-23T20-00Z  2026-11-23T20:00:01.000Z  2026-11-23T21:00:00.000Z',
    ]);
    const many = Array.from({ length: 30 }, () => ({ volume: 'v', ...due, isLate: false }));
    expect(statusLines({ ...status, schedules: many }).at(-1)).toMatch(/and 10 more/);
  });

  it('shows how old the last backup of each volume is, and which are overdue', () => {
    const counts = { files: 3, bytes: 2_048, bytesRead: 40, bytesSent: 20, tookMs: 1_500 };
    const at = new Date(Date.now() - 2 * 3_600_000).toISOString();
    const last = { id: 'ab'.repeat(32), at, repository: '/r', ...counts };
    const verification = { at, readShare: 1, problems: 0 };
    const backups = [
      { volume: 'new', periodMs: 86_400_000, isOverdue: true },
      { volume: 'db', last, verification, isOverdue: false },
    ];
    expect(statusLines({ ...status, backups }).slice(-3)).toEqual([
      'VOLUME  BACKUP EVERY  LAST     SIZE   SENT  VERIFIED    NEXT  STATE',
      'new     1d            none     -      -     no          -     overdue',
      'db      none          2 h ago  2 KiB  20 B  0 problems  -     ok',
    ]);
  });

  it('shows the volumes that are being filled from a backup', () => {
    const restores = [
      { volume: 'x', from: 'r:x', state: 'failed', trouble: 'no backup' },
      { volume: 'db', from: 'r:db@then', state: 'restoring', percent: 43, host: 'h1' },
    ] as const;
    expect(statusLines({ ...status, restores }).slice(-3)).toEqual([
      'VOLUME  FROM BACKUP  STATE      DONE  ON',
      'x       r:x          failed     -     -',
      'db      r:db@then    restoring  43 %  h1',
    ]);
  });

  it('says what is wrong, each with what to do next, and the room and repair of each peer', () => {
    expect(statusLines(status)).toEqual([
      'cluster c: warning, map epoch 7, 4 volumes, all partitions in place',
      "  node.down: peer 2 'n2' is down",
      '    next: start it',
      '',
      'NODE  NAME  STATE  FREE      OF       BEHIND        MISSING',
      '1     n1    up     12.5 GiB  100 GiB  3 partitions  40 chunks',
      '2     n2    down   -         -        -             -',
      '',
      'SHARD       LEADER  MEMBERS  TERM  COMMIT  APPLIED',
      '0 (system)  1       1,2      2     9       9',
    ]);
  });
});

describe('holdfast node ls', () => {
  it('shows state, zone, epoch and when each peer was seen last, or that nobody could tell', () => {
    expect(nodeLines([told, { ...silent, silentMs: 7_300_000 }])).toEqual([
      'NODE  NAME  STATE  ZONE    EPOCH  LAST SEEN  ADDRESS',
      '1     n1    up     rack-a  7      1 s ago    10.0.0.1:7401',
      '2     n2    down   rack-a  -      2 h ago    10.0.0.1:7401',
    ]);
  });
});
