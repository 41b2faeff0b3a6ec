import { ClusterState, type RegistryChange } from '@holdfast/placement';
import { HoldfastError, JOB_TIMES, type JobOrder, type VolumeNumber } from '@holdfast/protocol';
import { Registry as MetricsRegistry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { createLog } from '../telemetry/log.ts';
import { eventually } from '../testing/peers.ts';
import { BackupJobs, type JobStatus } from './backup-jobs.ts';

const HOUR_MS = 3_600_000;
const START = Date.parse('2026-01-01T00:30:00.000Z');
const HOUR = START + HOUR_MS / 2;

/** A registry with repository 'r' and volumes that are backed up into it, and its leaders. */
class Bench {
  readonly state = new ClusterState();
  nowMs = START;
  clockMs = 0;
  /** Volumes that are half filled. */
  readonly filling = new Set<string>();
  #next = 0;
  #looks = 0;
  readonly #leaders: { jobs: BackupJobs; isLeader: boolean }[] = [];

  constructor(...volumes: string[]) {
    const facts = { name: 'a', zone: 'a', weight: 1, incarnation: '0'.repeat(32) };
    const at = { grpcAddress: 'a:1', wireAddress: 'a:2', adminAddress: 'a:3' };
    const node = { ...facts, ...at, discoveryAddress: '' };
    const init = { clusterId: 'c', name: 'c', volumeShards: 1, node, serial: 'a1' } as const;
    this.do({ op: 'init-cluster', ...init });
    const repository = { name: 'r', place: '/r', id: 'ab'.repeat(32), hosts: [] };
    const secrets = { password: 'p', credentials: {} };
    this.do({ op: 'put-repository', repository, secrets, replace: false });
    const policy = { backupRepository: 'r', backupSchedule: '0 * * * *' };
    for (const [index, name] of volumes.entries()) {
      this.do({ op: 'create-volume', name, policy });
      this.do({ op: 'volume-ready', volume: (index + 1) as VolumeNumber });
    }
  }

  do(change: RegistryChange): object {
    const time = new Date(this.nowMs).toISOString();
    const result = this.state.apply({ v: 1, id: `c${this.#next++}`, time, change });
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code, result.message);
  }

  /** Another leads from now on. */
  lead(): BackupJobs {
    for (const one of this.#leaders) one.isLeader = false;
    const own = { isLeader: true };
    const registry = {
      get isLeader() {
        return own.isLeader;
      },
      assertLeader: () => {
        if (!own.isLeader) throw new HoldfastError('NOT_LEADER');
      },
      applied: () => {
        this.#looks += 1;
        return this.state;
      },
      read: async () => {
        registry.assertLeader();
        return this.state;
      },
      execute: async (change: RegistryChange) => {
        await new Promise((resolve) => setImmediate(resolve)); // the log takes its time
        return this.do(change) as never;
      },
    };
    const jobs = new BackupJobs({
      registry,
      now: () => this.nowMs,
      clock: () => this.clockMs,
      metrics: new MetricsRegistry(),
      log: createLog('silent'),
      snapshots: {
        whyHalf: async ({ name }) => (this.filling.has(name) ? 'it is being filled' : undefined),
      },
      lookMs: 5,
    });
    this.#leaders.push(Object.assign(own, { jobs }));
    jobs.start();
    return jobs;
  }

  /** Resolves when a round that began after this has ended. */
  async looked(): Promise<void> {
    const before = this.#looks;
    await eventually('two looks', () => this.#looks > before + 1);
  }

  runs(volume: string) {
    return this.state.volumeNamed(volume)?.record.backupRuns;
  }

  async close(): Promise<void> {
    await Promise.all(this.#leaders.map(({ jobs }) => jobs.close()));
  }
}

describe('the jobs of backup schedules', () => {
  let bench: Bench;
  afterEach(() => bench.close());
  const named = (order: JobOrder | undefined): string | undefined => order?.volume?.name;

  it('are handed out when they are due, each to one worker, with what opens the repository', async () => {
    bench = new Bench('v', 'w');
    const jobs = bench.lead();
    expect(await jobs.take('w1', 'h1', [])).toBeUndefined();
    bench.nowMs = HOUR;
    const [one, two, none] = await Promise.all(
      ['w1', 'w2', 'w3'].map((worker) => jobs.take(worker, worker, [])),
    );
    expect([named(one), named(two), none]).toEqual(['v', 'w', undefined]);
    expect(one).toMatchObject({ due: new Date(HOUR).toISOString(), secrets: { password: 'p' } });
    expect(jobs.ofVolume(one?.volume as never)).toMatchObject({ schedule: '0 * * * *' });
    await jobs.end('w1', one as JobOrder);
    expect(bench.runs('v')).toMatchObject({ done: 1, due: one?.due });
    expect(await jobs.take('w1', 'h1', [])).toBeUndefined();
  });

  it('are told again to a worker that does not know that it has them', async () => {
    bench = new Bench('v');
    const jobs = bench.lead();
    bench.nowMs = HOUR;
    const first = await jobs.take('w1', 'h1', []);
    expect(await jobs.take('w1', 'h1', [])).toEqual({
      ...first,
      volume: bench.state.volumeNamed('v')?.record,
    });
    expect(await jobs.take('w1', 'h1', ['backup/1'])).toBeUndefined();
  });

  it('are taken from a worker that falls silent, and only then', async () => {
    bench = new Bench('v');
    const jobs = bench.lead();
    bench.nowMs = HOUR;
    const order = (await jobs.take('w1', 'h1', [])) as JobOrder;
    const progress = { files: 1, bytes: 2, bytesExpected: 4 };
    for (let step = 0; step < 5; step++) {
      bench.clockMs += JOB_TIMES.claimMs;
      await bench.looked();
      expect(await jobs.renew('w1', [{ job: order.job, due: order.due, progress }])).toEqual([]);
    }
    const { record } = bench.state.volumeNamed('v') ?? {};
    expect(jobs.ofVolume(record as never)?.running).toMatchObject({ host: 'h1', progress });
    bench.clockMs += JOB_TIMES.claimMs + 1;
    await eventually('the end of the claim', () => bench.runs('v')?.claim === undefined);
    expect(bench.runs('v')).toMatchObject({ failures: 1, failure: /h1 fell silent/ });
    expect(await jobs.renew('w1', [order])).toEqual(['backup/1']);
    await expect(jobs.end('w1', order)).rejects.toMatchObject({ code: 'CONFLICT' });
    bench.nowMs += 10_000;
    expect(await jobs.take('w2', 'h2', [])).toMatchObject({ due: order.due });
  });

  it('stay with their workers when another leads, for as long as if they were just heard of', async () => {
    bench = new Bench('v');
    const before = bench.lead();
    bench.nowMs = HOUR;
    const order = (await before.take('w1', 'h1', [])) as JobOrder;
    bench.clockMs += JOB_TIMES.claimMs;
    const after = bench.lead();
    expect(before.repositories()).toEqual([]);
    await expect(before.renew('w1', [order])).rejects.toMatchObject({ code: 'NOT_LEADER' });
    await bench.looked();
    bench.clockMs += JOB_TIMES.claimMs;
    await bench.looked();
    expect(await after.renew('w1', [order])).toEqual([]);
    expect(await after.take('w2', 'h2', [])).toBeUndefined();
    await after.end('w1', order);
    expect(bench.runs('v')).toMatchObject({ done: 1, failures: 0 });
  });

  it('of a repository are alone in it when they prune, and say how they are', async () => {
    bench = new Bench('v');
    const jobs = bench.lead();
    const upkeep = { pruneSchedule: '0 * * * *', verifySchedule: '0 * * * *', verifyParts: 4 };
    bench.do({ op: 'set-upkeep', name: 'r', upkeep });
    bench.nowMs = HOUR;
    const backup = (await jobs.take('w1', 'h1', [])) as JobOrder;
    expect(backup.job.kind).toBe('backup');
    expect(await jobs.take('w2', 'h2', [])).toBeUndefined();
    await jobs.end('w1', backup, { failure: 'the store is full' });
    const prune = (await jobs.take('w2', 'h2', [])) as JobOrder;
    expect(prune).toMatchObject({ job: { kind: 'prune' }, volumes: [{ name: 'v' }] });
    bench.nowMs += HOUR_MS / 2;
    expect(await jobs.take('w1', 'h1', [])).toBeUndefined();
    await jobs.end('w2', prune);
    expect(await jobs.take('w2', 'h2', [])).toMatchObject({ job: { kind: 'backup' } });
    expect(jobs.repositories()).toMatchObject([
      { name: 'r', prune: { failures: 0, doneAt: expect.any(String) }, verify: { failures: 0 } },
    ]);
    expect(bench.runs('v')).toMatchObject({ failures: 1, failure: 'the store is full' });
  });

  it('of volumes that are half filled wait, without a failure, and hold nobody up', async () => {
    bench = new Bench('v', 'w');
    const jobs = bench.lead();
    bench.nowMs = HOUR;
    bench.filling.add('v');
    const other = (await jobs.take('w1', 'h1', [])) as JobOrder;
    expect(named(other)).toBe('w');
    expect(await jobs.take('w2', 'h2', [])).toBeUndefined();
    const status = (): JobStatus | undefined =>
      jobs.ofVolume(bench.state.volumeNamed('v')?.record as never);
    expect(status()).toMatchObject({ waits: 'it is being filled', failures: 0 });
    bench.filling.delete('v');
    bench.clockMs += 5_000;
    const order = (await jobs.take('w2', 'h2', [])) as JobOrder;
    expect(named(order)).toBe('v');
    expect(status()).not.toHaveProperty('waits');
    // It was begun to be filled since.
    await jobs.end('w2', order, { failure: 'it is being filled', waits: true });
    expect(bench.runs('v')).toMatchObject({ failures: 0, done: 0 });
    expect(bench.runs('v')).not.toHaveProperty('claim');
    expect(await jobs.take('w3', 'h3', [])).toMatchObject({
      due: order.due,
      volume: { name: 'v' },
    });
  });
});
