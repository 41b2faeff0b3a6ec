import type { JobName, JobRuns, VolumeNumber, VolumePolicy } from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RegistryChange, RegistryResult } from './cluster-commands.ts';
import type { ClusterState } from './cluster-state.ts';
import { type RegistryBench, registryAt } from './testing/registry-bench.ts';

const V = 1 as VolumeNumber;
const JOB: JobName = { kind: 'backup', volume: V };
const at = (hour: number): string => new Date(Date.UTC(2026, 0, 1, hour)).toISOString();

/** A registry with a repository 'r' and a volume 'v' that is backed up into it every hour. */
class Bench {
  hour = 0;
  readonly #registry: RegistryBench = registryAt(() => at(this.hour));

  constructor(policy: Partial<VolumePolicy> = { backupSchedule: '0 * * * *' }) {
    const secrets = { password: 'p', credentials: {} };
    const repository = { name: 'r', place: '/r', id: 'ab'.repeat(32), hosts: [] };
    this.#registry.do({ op: 'put-repository', repository, secrets, replace: false });
    const into = { ...policy, backupRepository: 'r' };
    this.#registry.do({ op: 'create-volume', name: 'v', policy: into });
  }

  try(change: RegistryChange): RegistryResult {
    return this.#registry.try(change);
  }

  set(policy: Partial<VolumePolicy>): RegistryResult {
    return this.try({ op: 'set-policy', name: 'v', policy });
  }

  begin(due: number, worker = 'w1'): RegistryResult {
    return this.try({ op: 'begin-job', job: JOB, due: at(due), worker, host: `h-${worker}` });
  }

  end(due: number, worker = 'w1', failure?: string): RegistryResult {
    const why = failure === undefined ? {} : { failure };
    return this.try({ op: 'end-job', job: JOB, due: at(due), worker, ...why });
  }

  silence(due: number, worker = 'w1'): RegistryResult {
    return this.try({ op: 'void-claim', job: JOB, due: at(due), worker });
  }

  get state(): ClusterState {
    return this.#registry.state;
  }

  get runs(): JobRuns | undefined {
    return this.state.volume(V)?.backupRuns;
  }
}

const refused = (code: string) => ({ ok: false, code });
const isChanged = (changed: boolean) => ({ ok: true, answer: { changed } });

describe('a job', () => {
  it('is run by one worker, which alone may end it, once', () => {
    const bench = new Bench();
    expect(bench.begin(1)).toMatchObject(isChanged(true));
    expect(bench.begin(1)).toMatchObject(isChanged(false));
    expect(bench.begin(1, 'w2')).toMatchObject(refused('CONFLICT'));
    expect(bench.end(1, 'w2')).toMatchObject(refused('CONFLICT'));
    bench.hour = 2;
    expect(bench.end(1)).toMatchObject(isChanged(true));
    expect(bench.runs).toEqual({ since: at(0), due: at(1), doneAt: at(2), done: 1, failures: 0 });
    expect(bench.end(1)).toMatchObject(refused('CONFLICT'));
    expect(bench.begin(1, 'w2')).toMatchObject(refused('CONFLICT'));
    expect(bench.begin(2, 'w2')).toMatchObject(isChanged(true));
  });

  it('that fails, or whose worker falls silent, is free for another, and says why', () => {
    const bench = new Bench();
    bench.begin(1);
    bench.end(1, 'w1', `no room${'!'.repeat(1_000)}`);
    expect(bench.runs).toMatchObject({ failures: 1, failedAt: at(0) });
    expect(bench.runs?.failure).toMatch(/^no room!{493}$/);
    bench.begin(1, 'w2');
    expect(bench.silence(1, 'w1')).toMatchObject(isChanged(false));
    expect(bench.silence(1, 'w2')).toMatchObject(isChanged(true));
    expect(bench.runs).toMatchObject({ failures: 2, failure: 'h-w2 fell silent while it ran' });
    expect(bench.end(1, 'w2')).toMatchObject(refused('CONFLICT'));
    bench.begin(1, 'w3');
    bench.end(1, 'w3');
    expect(bench.runs).toEqual({ since: at(0), due: at(1), doneAt: at(0), done: 1, failures: 0 });
  });

  it('goes with its schedule; another schedule begins now, and what runs goes on', () => {
    const bench = new Bench();
    bench.begin(1);
    bench.hour = 3;
    bench.set({ backupSchedule: '30 * * * *', backupKeep: 'last=2' });
    expect(bench.runs).toMatchObject({ since: at(3), claim: { due: at(1) } });
    bench.set({ backupKeep: 'last=3' });
    expect(bench.runs).toMatchObject({ since: at(3) });
    expect(bench.end(1)).toMatchObject(isChanged(true));
    expect(bench.runs).toMatchObject({ since: at(3), done: 1 });
    bench.begin(4);
    bench.set({ backupSchedule: '' });
    expect(bench.runs).toBeUndefined();
    expect(bench.state.volume(V)?.policy).not.toHaveProperty('backupRepository');
    expect(bench.end(4)).toMatchObject(refused('NOT_FOUND'));
    expect(bench.begin(5)).toMatchObject(refused('NOT_FOUND'));
  });

  it('can be asked for, which ends the pause after a failure', () => {
    const bench = new Bench();
    bench.begin(1);
    bench.end(1, 'w1', 'no');
    bench.hour = 2;
    bench.try({ op: 'ask-job', job: JOB });
    expect(bench.runs).toMatchObject({ askedAt: at(2), failures: 1 });
    expect(bench.runs?.failedAt).toBeUndefined();
    const none: JobName = { kind: 'prune', repository: 'r' };
    expect(bench.try({ op: 'ask-job', job: none })).toMatchObject(refused('NOT_FOUND'));
  });

  it('of a repository is set, run and taken away likewise', () => {
    const bench = new Bench();
    const upkeep = { pruneSchedule: '0 3 * * *', verifySchedule: '0 4 * * *', verifyParts: 7 };
    bench.try({ op: 'set-upkeep', name: 'r', upkeep });
    const job: JobName = { kind: 'verify', repository: 'r' };
    const run = { job, due: at(4), worker: 'w' };
    bench.try({ op: 'begin-job', ...run, host: 'h' });
    bench.try({ op: 'end-job', ...run });
    const [known] = bench.state.repositories;
    expect(known).toMatchObject({ ...upkeep, verifyRuns: { due: at(4), done: 1 } });
    bench.try({ op: 'set-upkeep', name: 'r', upkeep: { verifySchedule: '' } });
    expect(bench.state.repositories[0]).not.toHaveProperty('verifyRuns');
    expect(bench.state.repositories[0]).toMatchObject({ pruneRuns: { since: at(0) } });
    const parts = { verifyParts: -1 };
    expect(bench.try({ op: 'set-upkeep', name: 'r', upkeep: parts })).toMatchObject(
      refused('BAD_REQUEST'),
    );
    expect(bench.try({ op: 'set-upkeep', name: 'x', upkeep: {} })).toMatchObject(
      refused('NOT_FOUND'),
    );
  });

  it('is taken by one at a time and done once a run, whatever workers do and in whatever order', () => {
    const step = fc.record({
      do: fc.constantFrom('begin', 'end', 'fail', 'silence', 'ask', 'pass'),
      worker: fc.constantFrom('w1', 'w2', 'w3'),
      due: fc.integer({ min: 1, max: 6 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const bench = new Bench();
        const done: number[] = [];
        for (const { do: what, worker, due } of steps) {
          const before = bench.runs;
          let result: RegistryResult | undefined;
          if (what === 'begin') result = bench.begin(due, worker);
          if (what === 'end') result = bench.end(due, worker);
          if (what === 'fail') result = bench.end(due, worker, 'no');
          if (what === 'silence') result = bench.silence(due, worker);
          if (what === 'ask') result = bench.try({ op: 'ask-job', job: JOB });
          if (what === 'pass') bench.hour += 1;
          const isDone = result?.ok === true && result.answer.changed;
          const isOwn = before?.claim?.worker === worker && before.claim.due === at(due);
          // Taken by nobody before, ended by its own worker alone.
          const may = { begin: before?.claim === undefined, end: isOwn, fail: isOwn }[
            what as 'end'
          ];
          expect(isDone && may === false).toBe(false);
          if (what === 'end' && result?.ok === true) done.push(due);
        }
        expect(done).toEqual([...new Set(done)].sort((a, b) => a - b));
        expect(bench.runs?.done).toBe(done.length);
      }),
      { numRuns: 30 }, // each makes a registry with its table of partitions,
    );
  });
});

describe('a backup schedule', () => {
  it('is daily unless it is said, and goes into a repository that is known', () => {
    expect(new Bench({}).state.volume(V)?.policy).toMatchObject({
      backupRepository: 'r',
      backupSchedule: '0 0 * * *',
    });
    const bench = new Bench();
    expect(bench.set({ backupRepository: 'x' })).toMatchObject(refused('NOT_FOUND'));
    expect(
      bench.try({ op: 'create-volume', name: 'w', policy: { backupRepository: 'x' } }),
    ).toMatchObject(refused('NOT_FOUND'));
    const none = {
      op: 'create-volume',
      name: 'w',
      policy: { backupSchedule: '0 * * * *' },
    } as const;
    expect(bench.try(none)).toMatchObject(refused('BAD_REQUEST'));
    expect(bench.set({ backupSchedule: '', backupKeep: 'last=1' })).toMatchObject(
      refused('BAD_REQUEST'),
    );
  });

  it('keeps its repository known, and is not that of a clone', () => {
    const bench = new Bench();
    const remove = { op: 'remove-repository', name: 'r' } as const;
    expect(bench.try(remove)).toMatchObject(refused('EBUSY'));
    bench.try({ op: 'volume-ready', volume: V });
    const from = { volume: V, snapshot: 's', generation: 1 };
    const clone = bench.try({ op: 'create-volume', name: 'c', policy: {}, from });
    expect(clone).toMatchObject({ ok: true });
    expect(JSON.stringify(clone)).not.toContain('backup');
    bench.set({ backupRepository: '' });
    expect(bench.try(remove)).toMatchObject({ ok: true });
  });

  it('is no reason to refuse a volume that is made again', () => {
    const bench = new Bench({ backupSchedule: '0 * * * *', backupKeep: 'last=2' });
    const again = (policy: Partial<VolumePolicy>): RegistryResult =>
      bench.try({ op: 'create-volume', name: 'v', policy });
    expect(again({})).toMatchObject(isChanged(false));
    expect(again({ backupRepository: 'r' })).toMatchObject(isChanged(false));
    expect(again({ backupKeep: 'last=3' })).toMatchObject(refused('CONFLICT'));
  });
});
