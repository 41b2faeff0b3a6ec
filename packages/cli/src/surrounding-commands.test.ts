import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type SurroundingCommands, surrounded } from './surrounding-commands.ts';

describe('commands around a step', () => {
  let directory: string;
  let log: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-commands-'));
    log = join(directory, 'log');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const steps: string[] = [];
  const around = async (more: Partial<SurroundingCommands>): Promise<string> => {
    steps.length = 0;
    const commands: SurroundingCommands = {
      pre: 'echo "pre $VOLUME" >> "$LOG"',
      post: 'echo post >> "$LOG"',
      waitMs: 30_000,
      environment: { LOG: log, VOLUME: 'db' },
      signal: new AbortController().signal,
      ...more,
    };
    return surrounded(commands, async () => {
      steps.push(readFileSync(log, 'utf8'));
      return 'taken';
    });
  };
  const logged = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '');

  it('run before and after it', async () => {
    expect(await around({})).toBe('taken');
    expect(steps).toEqual(['pre db\n']);
    expect(logged()).toBe('pre db\npost\n');
  });

  it('keep it from being taken when the first fails; the second runs all the same', async () => {
    await expect(around({ pre: 'exit 3' })).rejects.toThrow(
      'the command of --pre ended with status 3',
    );
    expect(steps).toEqual([]);
    expect(logged()).toBe('post\n');
  });

  it('keep it from being taken when the first lasts too long, and end all of that', async () => {
    const slow = around({ pre: 'sleep 60 & wait', waitMs: 100 });
    await expect(slow).rejects.toThrow('the command of --pre took more than 0.1 s');
    expect([steps, logged()]).toEqual([[], 'post\n']);
  });

  it('are stopped with the reason of who stops, and the second runs', async () => {
    const stop = new AbortController();
    const slow = around({ pre: 'echo pre >> "$LOG"; sleep 60', signal: stop.signal });
    await expect.poll(logged).toBe('pre\n');
    stop.abort(new HoldfastError('EINTR', 'stopped'));
    await expect(slow).rejects.toThrow('stopped');
    expect([steps, logged()]).toEqual([[], 'pre\npost\n']);
  });

  it('say when the second fails that it was taken', async () => {
    await expect(around({ post: 'kill -9 $$' })).rejects.toThrow(
      'the snapshot is taken, but the command of --post ended with SIGKILL',
    );
    expect(steps).toHaveLength(1);
    await expect(around({ pre: 'exit 1', post: 'exit 2' })).rejects.toThrow(
      'the command of --pre ended with status 1; and then the command of --post ended with status 2',
    );
  });

  it('are done when this process is killed in between: the second runs', async () => {
    const code = `
      import { surrounded } from ${JSON.stringify(join(import.meta.dirname, 'surrounding-commands.ts'))};
      const environment = { LOG: process.argv[1] };
      const signal = new AbortController().signal;
      const never = () => new Promise((resolve) => setTimeout(resolve, 600_000));
      const commands = { pre: 'echo pre >> "$LOG"', post: 'echo post >> "$LOG"' };
      await surrounded({ ...commands, waitMs: 60_000, environment, signal }, () => {
        console.log('in between');
        return never();
      });`;
    const options = ['--input-type=module', '--disable-warning=ExperimentalWarning'];
    const child = spawn(process.execPath, [...options, '-e', code, log], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    expect(logged()).toBe('pre\n');
    child.kill('SIGKILL');
    await expect.poll(logged, { timeout: 10_000 }).toBe('pre\npost\n');
  });
});
