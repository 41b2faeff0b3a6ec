import { HoldfastError } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { decodeRecord, encodeRecord } from './backup-record.ts';

const policy = {
  replicas: 3,
  minReplicas: 2,
  quotaBytes: 2 ** 40,
  quotaInodes: 0,
  uid: 999,
  gid: 998,
  mode: 0o750,
};
const used = { usedBytes: 12, usedInodes: 3 };

describe('the record of a volume in its backup', () => {
  it('comes back as it was written, byte for byte the same each time', () => {
    const bytes = encodeRecord({ name: 'db', policy }, used);
    expect(decodeRecord(bytes)).toEqual({ name: 'db', policy, ...used });
    expect(encodeRecord({ name: 'db', policy: { ...policy } }, used)).toEqual(bytes);
  });

  it('has the schedule of snapshots with it, unless that is not understood', () => {
    const schedule = { snapshotSchedule: '0 * * * *', snapshotKeep: 'hourly=24' };
    const read = (more: object): object =>
      decodeRecord(encodeRecord({ name: 'db', policy: { ...policy, ...more } }, used)).policy;
    expect(read(schedule)).toEqual({ ...policy, ...schedule });
    expect(read({ ...schedule, snapshotSchedule: 'at night' })).toEqual(policy);
    expect(read({ snapshotSchedule: '0 * * * *' })).toEqual(policy);
  });

  it('has the schedule of backups with it, unless any part of that is not understood', () => {
    const backups = { backupSchedule: '30 2 * * *', backupRepository: 'nightly' };
    const read = (more: object): object =>
      decodeRecord(encodeRecord({ name: 'db', policy: { ...policy, ...more } }, used)).policy;
    const keep = { backupKeep: 'daily=7,within=1m' };
    expect(read({ ...backups, ...keep })).toEqual({ ...policy, ...backups, ...keep });
    expect(read(backups)).toEqual({ ...policy, ...backups });
    expect(read({ ...backups, backupKeep: 'some' })).toEqual(policy);
    expect(read({ ...backups, backupSchedule: 'at night' })).toEqual(policy);
    expect(read({ backupSchedule: '@daily' })).toEqual(policy);
  });

  it('is read without what is odd in it', () => {
    const odd = {
      name: 7,
      policy: { replicas: '3', uid: -1, mode: 0o700, evil: 1 },
      usedBytes: 1.5,
    };
    expect(decodeRecord(Buffer.from(JSON.stringify(odd)))).toEqual({
      name: '',
      policy: { mode: 0o700 },
    });
    expect(decodeRecord(Buffer.from('null'))).toEqual({ name: '', policy: {} });
    expect(() => decodeRecord(Buffer.from('{'))).toThrow(HoldfastError);
  });
});
