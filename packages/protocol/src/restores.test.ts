import { describe, expect, it } from 'vitest';
import { backupSourceText, parseBackupSource, restoreText } from './restores.ts';

describe('the source of a restore', () => {
  it.each([
    ['nightly:db', { repository: 'nightly', volume: 'db', backup: 'latest' }],
    [
      'nightly:db@before-upgrade',
      { repository: 'nightly', volume: 'db', backup: 'before-upgrade' },
    ],
    ['/srv/r:db@79766175', { repository: '/srv/r', volume: 'db', backup: '79766175' }],
    [
      's3:http://127.0.0.1:9000/b/p:db',
      { repository: 's3:http://127.0.0.1:9000/b/p', volume: 'db', backup: 'latest' },
    ],
    ['azure:c:/p:db', { repository: 'azure:c:/p', volume: 'db', backup: 'latest' }],
  ])('is read and written: %s', (text, source) => {
    expect(parseBackupSource(text)).toEqual(source);
    expect(backupSourceText(source)).toBe(text);
  });

  it.each(['', 'db', 'r:', ':db', 'r:db@', 'r:a/b', 'r:db@a/b', `${'r'.repeat(1_024)}:db`])(
    'is not %j',
    (text) => {
      expect(() => parseBackupSource(text)).toThrow(/write REPOSITORY:VOLUME/);
    },
  );
});

describe('the state of a restore', () => {
  const source = { repository: 'r', volume: 'v', backup: 'latest' };
  const common = { source, since: '', withPolicy: true, asked: {} };

  it('is told in percent where that is known', () => {
    const of = (bytes: number, bytesExpected?: number): string =>
      restoreText({
        ...common,
        state: 'restoring',
        progress: { files: 1, bytes, ...(bytesExpected === undefined ? {} : { bytesExpected }) },
      });
    expect(restoreText({ ...common, state: 'restoring' })).toBe('restoring');
    expect(of(5)).toBe('restoring');
    expect(of(439, 1_000)).toBe('restoring, 43 %');
    expect(of(2_000, 1_000)).toBe('restoring, 100 %');
    expect(restoreText({ ...common, state: 'failed' })).toBe('restore failed');
  });
});
