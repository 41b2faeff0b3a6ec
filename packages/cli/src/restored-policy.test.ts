import type { RepositoryRecord, VolumePolicy } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { policyLines, policyOfThen } from './restored-policy.ts';

const backups = { backupSchedule: '0 3 * * *', backupRepository: 'nightly', backupKeep: 'daily=7' };
const others = { replicas: 3, minReplicas: 2, quotaBytes: 2 ** 30 };

/** What comes along into a cluster that knows these repositories. */
const came = (known: string[], asked: Partial<VolumePolicy> = {}) => {
  const list = async () => known.map((name) => ({ name }) as RepositoryRecord);
  const record = { name: 'db', policy: { ...others, ...backups } };
  return policyOfThen({ repositories: { list } as never }, { record }, asked);
};

describe('the policy of a volume that is made from a backup', () => {
  it('has its backups where the cluster knows a repository of that name', async () => {
    const policy = { ...others, ...backups };
    expect(await came(['nightly', 'other'])).toEqual({ policy });
    expect(policyLines({ policy })).toEqual([
      "came along: 3 replicas, a limit of 1 GiB, backups at '0 3 * * *' into nightly (daily=7 stay)",
    ]);
  });

  it('says what did not come along where it knows none', async () => {
    const left = await came(['other']);
    expect(left).toEqual({
      policy: others,
      left: expect.stringMatching(/'0 3.*'nightly'.*repo add/),
    });
    expect(policyLines(left)[1]).toMatch(
      /^did not come along: its backups at '0 3 \* \* \*' into 'nightly'/,
    );
  });

  it('leaves out what is asked for otherwise, and minimal copies that go with other copies', async () => {
    const { backupKeep, backupRepository, backupSchedule } = backups;
    expect(await came(['nightly'], { replicas: 1, backupSchedule: '0 * * * *' })).toEqual({
      policy: { quotaBytes: 2 ** 30, backupKeep, backupRepository },
    });
    expect(await came([], { backupRepository: 'other' })).toEqual({
      policy: { ...others, backupKeep, backupSchedule },
    });
  });
});
