import { describe, expect, it } from 'vitest';
import {
  backupOf,
  checkVolumeName,
  parseSize,
  parseVolumeOptions,
  volumeSource,
} from './options.ts';

describe('parseVolumeOptions', () => {
  it('turns every option into its part of the policy', () => {
    const options = { size: '10G', replicas: '2', uid: '999', gid: '998', mode: '2750' };
    expect(parseVolumeOptions(options)).toEqual({
      quotaBytes: 10 * 1024 ** 3,
      replicas: 2,
      uid: 999,
      gid: 998,
      mode: 0o2750,
    });
    expect(parseVolumeOptions({})).toEqual({});
  });

  it('takes the period of backups', () => {
    expect(parseVolumeOptions({ 'backup-period': '24h' })).toEqual({ backupPeriodMs: 86_400_000 });
    expect(() => parseVolumeOptions({ backup_period: 'daily' })).toThrow(/such as 90m, 24h/);
  });

  it('takes a schedule of snapshots and which of them to keep', () => {
    const options = { 'snapshot-schedule': '@hourly', 'snapshot-keep': 'daily=7,hourly=24' };
    expect(parseVolumeOptions(options)).toEqual({
      snapshotSchedule: '0 * * * *',
      snapshotKeep: 'hourly=24,daily=7',
    });
    for (const wrong of ['', 'daily=12:00', '60 * * * *'])
      expect(() => parseVolumeOptions({ snap_schedule: wrong })).toThrow(/in UTC, such as/);
    expect(() => parseVolumeOptions({ 'snapshot-keep': '7' })).toThrow(/such as hourly=24/);
  });

  it('knows the names that users of other drivers know, in any case', () => {
    expect(parseVolumeOptions({ capacity: '1M', repl: '1' })).toEqual({
      quotaBytes: 2 ** 20,
      replicas: 1,
    });
    expect(parseVolumeOptions({ NUMBEROFREPLICAS: '3' })).toEqual({ replicas: 3 });
  });

  it.each([
    ['replica', "did you mean 'replicas'"],
    ['Sise', "did you mean 'size'"],
    ['guid', "did you mean '(uid|gid)'"],
    ['', 'unknown option'],
    ['x'.repeat(10_000), 'unknown option'],
  ])('refuses an unknown option and names the nearest: %.20s', (key, message) => {
    expect(() => parseVolumeOptions({ [key]: '1' })).toThrow(new RegExp(message));
  });

  it('takes a snapshot to begin with', () => {
    const options = { Parent: 'db@monday', size: '1G' };
    expect(parseVolumeOptions(options)).toEqual({ quotaBytes: 2 ** 30 });
    expect(volumeSource(options)).toBe('db@monday');
    expect(volumeSource({ size: '1G' })).toBeUndefined();
    for (const from of ['db', '@monday', 'db@', 'a@b@c', ''])
      expect(() => parseVolumeOptions({ from })).toThrow('VOLUME@NAME');
  });

  it('takes where, when and how long to be backed up', () => {
    const options = {
      backup: 'nightly',
      'backup-schedule': '@hourly',
      backup_keep: 'daily=7,tag=x',
    };
    expect(parseVolumeOptions(options)).toEqual({
      backupRepository: 'nightly',
      backupSchedule: '0 * * * *',
      backupKeep: 'daily=7,tag=x',
    });
    expect(() => parseVolumeOptions({ backup: 's3:h/b' })).toThrow('a repository that the cluster');
    expect(() => parseVolumeOptions({ 'backup-keep': 'x' })).toThrow('is not understood');
  });

  it('refuses one thing said twice', () => {
    expect(() => parseVolumeOptions({ size: '1G', quota: '1G' })).toThrow("'size' and 'quota'");
  });

  it('takes a backup to be filled with, under any of its names, and not a clone besides', () => {
    for (const key of ['from-backup', 'from_backup', 'fromBackup']) {
      expect(parseVolumeOptions({ [key]: 'nightly:db@then' })).toEqual({});
      expect(backupOf({ [key]: 'nightly:db@then' })).toBe('nightly:db@then');
    }
    expect(backupOf({ from: 'db@then' })).toBeUndefined();
    expect(() => parseVolumeOptions({ 'from-backup': 'nightly' })).toThrow(/REPOSITORY:VOLUME/);
    const both = { from: 'db@then', 'from-backup': 'r:db' };
    expect(() => parseVolumeOptions(both)).toThrow(/not both/);
  });

  it.each(['class', 'access', 'encrypt'])('says that %s is not available yet', (key) => {
    expect(() => parseVolumeOptions({ [key]: 'x' })).toThrow('not available yet');
  });

  it.each([
    { replicas: '0' },
    { replicas: '8' },
    { replicas: 'three' },
    { replicas: '3.5' },
    { replicas: ' 3' },
    { uid: '-1' },
    { uid: '4294967295' },
    { gid: '99999999999' },
    { mode: '888' },
    { mode: '0o755' },
    { mode: '77777' },
    { mode: 'rwx' },
    { size: '' },
  ])('refuses %o', (options) => {
    expect(() => parseVolumeOptions(options)).toThrow(/not (allowed|understood)/);
  });
});

describe('parseSize', () => {
  it('takes all spellings of a unit for the binary one', () => {
    for (const text of ['10G', '10g', '10GB', '10Gi', '10GiB', ' 10 GiB ']) {
      expect(parseSize(text)).toBe(10_737_418_240);
    }
    expect(parseSize('4096')).toBe(4096);
    expect(parseSize('1.5K')).toBe(1536);
  });

  it.each(['0', '-1G', 'G', '10X', '10GG', '1e9', '0x10', '10 G B', '10i', '9999999P', 'NaN', '∞'])(
    'refuses %s',
    (text) => {
      expect(() => parseSize(text)).toThrow('not understood');
    },
  );
});

describe('checkVolumeName', () => {
  it.each(['a', 'pg-1', 'A.b_c', '0'.repeat(64), 'x'.repeat(255)])('takes %.20s', (name) => {
    expect(checkVolumeName(name)).toBe(name);
  });

  it.each(['', '.', '..', '-a', '.snapshots', 'a/b', 'a b', 'ä', 'a\n', '../etc', 'x'.repeat(256)])(
    'refuses %j',
    (name) => {
      expect(() => checkVolumeName(name)).toThrow(/name/);
    },
  );
});
