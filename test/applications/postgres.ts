import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../demo/local-cluster.ts';
import { command } from './processes.ts';

/** The newest PostgreSQL of Debian's packages. */
function binaries(): string {
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(a) - Number(b));
  return join('/usr/lib/postgresql', versions.at(-1) ?? '', 'bin');
}

/** Milliseconds for crash recovery, which flushes every file and replays the log. */
const RECOVERY_MS_MAX = 300_000;

/** A PostgreSQL server of our own on a data directory, reached through a unix socket. */
export class Postgres {
  readonly #data: string;
  readonly #sockets: string;
  #server: ChildProcess | undefined;

  constructor(data: string, owner: { uid: number; gid: number }) {
    this.#data = data;
    this.#sockets = mkdtempSync(join(tmpdir(), 'holdfast-pg-'));
    chownSync(this.#sockets, owner.uid, owner.gid);
    chmodSync(this.#sockets, 0o755);
  }

  /** The numbers of the user that Debian's package makes. */
  static owner(): { uid: number; gid: number } {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith('postgres:'));
    const [, , uid, gid] = (line ?? '').split(':');
    return { uid: Number(uid), gid: Number(gid) };
  }

  async initialise(): Promise<void> {
    await this.#asOwner('initdb', ['-D', this.#data, '-A', 'trust', '--no-instructions']);
  }

  /** Starts the server (again); resolves when it answers, recovery included. */
  async start(): Promise<void> {
    const args = [
      '-u',
      'postgres',
      '--',
      join(binaries(), 'postgres'),
      '-D',
      this.#data,
      '-k',
      this.#sockets,
      '-h',
      '',
    ];
    this.#server = spawn('runuser', args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: '/' });
    const server = this.#server;
    await until(
      'PostgreSQL',
      async () => {
        if (server.exitCode !== null) throw new Error(`postgres ended with ${server.exitCode}`);
        return this.query('SELECT 1').then(
          () => true,
          () => false,
        );
      },
      RECOVERY_MS_MAX,
    );
  }

  /** kill -9 of the postmaster and everything it started, as a crash of the host does. */
  async crash(): Promise<void> {
    const [postmaster] = readFileSync(join(this.#data, 'postmaster.pid'), 'utf8').split('\n');
    const children = await command('pgrep', ['-P', postmaster ?? '']);
    const server = this.#server;
    if (server === undefined) return;
    const exit =
      server.exitCode === null && server.signalCode === null ? once(server, 'exit') : undefined;
    for (const pid of [postmaster, ...children.split('\n')])
      if (pid) process.kill(Number(pid), 'SIGKILL');
    await exit;
    // The next server refuses to start while any of them is still attached to shared memory.
    await until(
      'the end of PostgreSQL',
      () => !children.split('\n').some((pid) => pid !== '' && isAlive(Number(pid))),
    );
  }

  /** A fast shutdown, as `docker stop` makes of its image: transactions under way are given up, the rest is written. */
  async shutDown(): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const exit = once(server, 'exit');
    await this.#asOwner('pg_ctl', ['stop', '-D', this.#data, '-m', 'fast']);
    await exit;
  }

  /** Rows of a query, fields separated by |. */
  async query(sql: string): Promise<string> {
    return (
      await this.#asOwner('psql', [
        ...this.#connection(),
        '-X',
        '-qAt',
        '-v',
        'ON_ERROR_STOP=1',
        '-c',
        sql,
      ])
    ).trim();
  }

  pgbench(args: readonly string[]): Promise<string> {
    return this.#asOwner('pgbench', [...this.#connection(), ...args]);
  }

  /** A psql that reads statements from its standard input. */
  interactive(): [string, string[]] {
    return [
      'runuser',
      ['-u', 'postgres', '--', join(binaries(), 'psql'), ...this.#connection(), '-X', '-qAt'],
    ];
  }

  async stop(): Promise<void> {
    if (
      this.#server !== undefined &&
      this.#server.exitCode === null &&
      this.#server.signalCode === null
    )
      await this.crash();
    rmSync(this.#sockets, { recursive: true, force: true });
  }

  #connection(): string[] {
    return ['-h', this.#sockets, '-d', 'postgres'];
  }

  #asOwner(program: string, args: readonly string[]): Promise<string> {
    return command('runuser', ['-u', 'postgres', '--', join(binaries(), program), ...args], {
      cwd: '/',
    });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
