import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-'));
afterAll(() => rmSync(directory, { recursive: true }));

function holdfast(...args: string[]): { status: number | null; out: string; error: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOLDFAST_DATA: join(directory, 'none') },
    timeout: 30_000,
  });
  return { status, out: stdout, error: stderr };
}

describe('the command line', () => {
  it.each([
    [['bogus'], 2, "holdfast: unknown command 'bogus'; see --help\n"],
    [['stat'], 2, "holdfast: unknown command 'stat' (Did you mean status?); see --help\n"],
    [['volume', 'rm'], 2, "holdfast: missing required argument 'name'; see --help\n"],
    [
      ['node', '--log-level', 'loud'],
      2,
      "holdfast: wrong value 'loud' for '--log-level' on the command line: one of error, warn, info, debug, trace, silent is needed\n",
    ],
    [
      ['status'],
      3,
      `holdfast: no peer answers at ${join(directory, 'none', 'admin.sock')} (ENOENT); start it with 'holdfast run', or name another with --host\n`,
    ],
    [
      ['umount', join(directory, 'nowhere')],
      4,
      `holdfast: nothing of Holdfast is mounted at ${join(directory, 'nowhere')}\n`,
    ],
  ] as const)('%j ends with status %i and one sentence', (args, status, error) => {
    expect(holdfast(...args)).toEqual({ status, out: '', error });
  });

  it.each([
    [['status', '--jsn', '--json'], 2, 'BAD_REQUEST'],
    [['token', 'create', '--role', 'king', '--json'], 2, 'BAD_REQUEST'],
    [['backup', 'schedule', 'set', 'v', '', '--json'], 2, 'BAD_REQUEST'],
    [['--json', 'volume', 'ls'], 3, 'UNREACHABLE'],
  ] as const)('%j ends with status %i and one object', (args, status, code) => {
    const ended = holdfast(...args);
    expect(ended).toMatchObject({ status, out: '' });
    expect(JSON.parse(ended.error)).toEqual({
      error: { code, message: expect.any(String), detail: {} },
    });
  });

  it('prints help and version where results go, and help in place of a missing command where errors go', () => {
    expect(holdfast('volume', '--help')).toMatchObject({
      status: 0,
      out: expect.stringContaining('create'),
      error: '',
    });
    expect(holdfast('--version')).toMatchObject({ status: 0, out: expect.stringMatching(/^\d/) });
    expect(holdfast('volume')).toMatchObject({
      status: 2,
      out: '',
      error: expect.stringContaining('create'),
    });
  });
});
