import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { afterAll, describe, expect, it } from 'vitest';
import { explained, passwordOf, placeOf } from './backup-place.ts';

const directory = mkdtempSync(join(tmpdir(), 'holdfast-place-'));
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('the password of a repository', () => {
  it('comes from the file that is named, else the environment, else a file named there', async () => {
    const passwordFile = file('a', 'from file\nnot this\n');
    const named = { HOLDFAST_BACKUP_PASSWORD_FILE: file('b', 'named\r\n') };
    expect(await passwordOf({ passwordFile }, { HOLDFAST_BACKUP_PASSWORD: 'x' })).toBe('from file');
    expect(await passwordOf({}, { ...named, HOLDFAST_BACKUP_PASSWORD: 'x' })).toBe('x');
    expect(await passwordOf({}, named)).toBe('named');
    expect(await passwordOf({}, { RESTIC_PASSWORD: "restic's" })).toBe("restic's");
  });

  it.each([
    [{}, /set HOLDFAST_BACKUP_PASSWORD/],
    [{ passwordFile: join(directory, 'none') }, /cannot read the password/],
    [{ passwordFile: file('empty', '\n') }, /is empty/],
  ] as const)('is asked for where it is missing: %j', async (options, text) => {
    await expect(passwordOf(options, {})).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringMatching(text),
    });
  });
});

describe('the place of a repository', () => {
  it('is a directory from here, or what has a scheme', () => {
    expect(placeOf('backups')).toBe(resolve('backups'));
    expect(placeOf('/srv/backups')).toBe('/srv/backups');
    expect(placeOf('s3:https://host/bucket')).toBe('s3:https://host/bucket');
  });

  it('is named in what goes wrong with it', () => {
    const said = (code: 'NOT_FOUND' | 'EACCES', detail = {}): unknown =>
      explained(new HoldfastError(code, 'x', { detail }), { repo: '/r' });
    expect(said('NOT_FOUND')).toMatchObject({
      code: 'NOT_FOUND',
      message: "there is no repository at /r; make one with 'holdfast backup repo init --repo /r'",
    });
    expect(said('NOT_FOUND', { reason: 'NoSuchBucket' })).toMatchObject({
      message: expect.stringContaining('no bucket'),
    });
    expect(said('EACCES')).toMatchObject({ message: expect.stringContaining('password') });
  });

  it('is not blamed for what the cluster answers', () => {
    const error = new HoldfastError('UNREACHABLE', 'no peer answers');
    expect(explained(error, { repo: '/r' }, { isOpen: true })).toBe(error);
    const full = new HoldfastError('ENOSPC', 'full', { detail: { key: 'data/aa' } });
    expect(explained(full, { repo: '/r' }, { isOpen: true })).toMatchObject({
      message: '/r: full',
    });
  });
});
