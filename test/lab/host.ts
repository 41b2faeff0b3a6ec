import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { HostCgroup } from './cgroups.ts';
import { Engine } from './engine.ts';
import { LabError } from './errors.ts';
import {
  endRecorded,
  isAlive,
  killGroup,
  launch,
  type RecordedProcess,
  type RunOptions,
  type RunResult,
  readRecord,
  recordOf,
  run,
  waitFor,
  writeRecord,
} from './processes.ts';
import { Switch } from './switch.ts';

const HERE = import.meta.dirname;

/** Size of a host's disk; sparse, so only what is written costs. */
const DISK_BYTES = '20G';

/** A command that runs in the background of a host. It ends with the host at the latest. */
export interface HostProcess {
  /** Signals the command and its children. */
  signal(signal: NodeJS.Signals): void;
  /** Exit status; null after a signal. */
  readonly ended: Promise<number | null>;
}

/**
 * One host of the lab: namespaces with a process 1 of their own, a disk, an address and (if the lab
 * has engines) a Docker Engine. Its name is h1, h2, ...; `/usr`, `/tmp` and the work tree are the
 * machine's; `/etc`, `/var/lib` and `/mnt` are its own and on its disk; `/run` is its own and volatile.
 */
export class Host {
  readonly number: number;
  readonly name: string;
  readonly address: string;
  readonly engine: Engine;
  readonly #dir: string;
  readonly #switch: Switch;
  readonly #cgroup: HostCgroup;
  readonly #hasEngine: boolean;

  constructor(root: string, number: number, group: string, hasEngine: boolean) {
    this.number = number;
    this.name = `h${number}`;
    this.address = Switch.address(number);
    this.#dir = join(root, this.name);
    this.#switch = new Switch(join(root, 'switch'));
    this.#cgroup = new HostCgroup(`/${group}/${this.name}`);
    this.#hasEngine = hasEngine;
    this.engine = new Engine(this, this.#dir, this.#cgroup.parent);
  }

  /** Makes the (empty) disk. */
  async create(): Promise<void> {
    await run(['truncate', '-s', DISK_BYTES, this.#disk]);
    await run([
      'mkfs.ext4',
      '-q',
      '-F',
      '-E',
      'lazy_itable_init=1,lazy_journal_init=1',
      this.#disk,
    ]);
  }

  /** True while the host has power. */
  get isUp(): boolean {
    const init = this.#init;
    return init !== undefined && isAlive(init);
  }

  /** Bytes of memory in use by the host and its containers. */
  get memoryBytes(): number {
    return this.#cgroup.memoryBytes;
  }

  /** Boots: mounts its disk, plugs in the network, runs the boot script, starts the engine. */
  async start(): Promise<void> {
    if (this.isUp) throw new LabError(`${this.name} is up already`);
    await this.#diskFree();
    const outerPid = join(this.#dir, 'init.outer-pid');
    rmSync(outerPid, { force: true });
    this.#cgroup.create();
    const log = openSync(join(this.#dir, 'init.log'), 'a');
    const init = ['bash', join(HERE, 'host-init.sh'), this.name, this.#dir, ...this.#cgroup.joined];
    const child = launch(
      ['unshare', '-m', '-u', '-i', '-n', '-p', '-f', '--', ...init],
      ['ignore', log, log],
      {
        env: baseEnvironment(),
      },
    );
    child.unref();
    await waitFor(
      `${this.name} to boot (see ${this.#dir}/init.log)`,
      () => {
        if (child.exitCode !== null)
          throw new LabError(`${this.name} did not boot: ${this.#log('init.log')}`);
        return existsSync(outerPid);
      },
      20_000,
    );
    const pid = Number(readFileSync(outerPid, 'utf8'));
    writeRecord(this.#initRecord, recordOf(pid));
    await this.#switch.plug(this.number, pid);
    if (existsSync(this.#bootScript)) await this.exec([this.#bootScript]);
    if (this.#hasEngine) await this.engine.start();
  }

  /** Sets what the host runs at every boot before its engine starts; a shell script that must end. */
  onBoot(script: string): void {
    writeFileSync(this.#bootScript, script);
    chmodSync(this.#bootScript, 0o755);
  }

  /** Ends everything in the host at once (kill -9); what it had written still reaches its disk. */
  async kill(): Promise<void> {
    await this.#end(false);
  }

  /** As {@link kill}, and what was not flushed to its disk is lost, as when the power fails. */
  async powercut(): Promise<void> {
    await this.#end(true);
  }

  /** Stops all its processes, containers included, as a stalled machine does; see {@link thaw}. */
  freeze(): Promise<void> {
    return this.#cgroup.freeze(true);
  }

  thaw(): Promise<void> {
    return this.#cgroup.freeze(false);
  }

  /** Runs a command in the host and waits for it; LAB_HOST and LAB_IP are set. See {@link run}. */
  exec(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { cwd, env, ...rest } = options;
    return run(this.command(argv, { cwd, env }), rest);
  }

  /** Starts a command in the background of the host; both its outputs are appended to `logPath`. */
  spawn(argv: readonly string[], logPath: string, env: NodeJS.ProcessEnv = {}): HostProcess {
    const log = openSync(logPath, 'a');
    const child = launch(this.command(argv, { env }), ['ignore', log, log]);
    child.unref();
    const ended = new Promise<number | null>((resolve) => {
      child.once('error', () => resolve(127));
      child.once('exit', (status) => resolve(status));
    });
    return { signal: (signal) => killGroup(child, signal), ended };
  }

  /** Runs the Docker client against this host's engine. */
  docker(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.engine.client(args, options);
  }

  /** Runs a command in the host with this process's own standard streams; resolves to its status. */
  attach(argv: readonly string[]): Promise<number> {
    const [file = '', ...args] = this.command(argv, { cwd: process.cwd() });
    const child: ChildProcess = spawn(file, args, { stdio: 'inherit' });
    return new Promise((resolve) => child.once('close', (status) => resolve(status ?? 1)));
  }

  /**
   * The command line that, run on the machine, runs `argv` inside the host and within its control
   * groups. Throws LabError when the host is down.
   */
  command(
    argv: readonly string[],
    options: {
      readonly cwd?: string | undefined;
      readonly env?: NodeJS.ProcessEnv | undefined;
    } = {},
  ): string[] {
    const init = this.#init;
    if (init === undefined || !isAlive(init)) throw new LabError(`${this.name} is down`);
    const joinGroups =
      'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';
    const own = { LAB_HOST: this.name, LAB_IP: this.address };
    const variables = { ...baseEnvironment(), ...own, ...options.env };
    const settings = Object.entries(variables).map(([key, value]) => `${key}=${value ?? ''}`);
    const belong = ['sh', '-c', joinGroups, 'enter', ...this.#cgroup.joined, '--'];
    const enter = ['nsenter', '-t', `${init.pid}`, '-m', '-u', '-i', '-n', '-p', '--'];
    return [...belong, ...enter, 'env', '-i', '-C', options.cwd ?? '/', ...settings, ...argv];
  }

  get #disk(): string {
    return join(this.#dir, 'disk.img');
  }

  get #bootScript(): string {
    return join(this.#dir, 'on-boot');
  }

  get #initRecord(): string {
    return join(this.#dir, 'init.json');
  }

  get #init(): RecordedProcess | undefined {
    return readRecord(this.#initRecord);
  }

  #log(name: string): string {
    return readFileSync(join(this.#dir, name), 'utf8').slice(-2000);
  }

  async #end(powerFails: boolean): Promise<void> {
    const init = this.#init;
    if (init !== undefined && isAlive(init)) {
      // Frozen, nothing in the host sees its disk or its neighbours die one after the other.
      // Those that cannot be stopped wait in the kernel and do nothing either.
      await this.#cgroup.freeze(true, END_FREEZE_MS).catch(onlyLabErrors);
      if (powerFails) {
        const cut = ['perl', join(HERE, 'power-cut.pl'), join(this.#dir, 'disk')];
        await run(['nsenter', '-t', `${init.pid}`, '-m', '--', ...cut]);
      }
      process.kill(init.pid, 'SIGKILL');
      await this.#cgroup.freeze(false); // version 1 lets a frozen process die only when it thaws
    }
    await endRecorded(this.#initRecord);
    await this.#switch.unplug(this.number);
    await this.#diskFree();
    await this.#cgroup.remove();
  }

  /** The kernel gives the loop device back a moment after the last mount of the disk is gone. */
  async #diskFree(): Promise<void> {
    if (!existsSync(this.#disk)) return;
    await waitFor(
      `the disk of ${this.name} to be free`,
      async () => (await run(['losetup', '-j', this.#disk])).stdout === '',
      30_000,
    );
  }
}

/** Milliseconds for a host that ends to stand still first. */
const END_FREEZE_MS = 1_000;

function onlyLabErrors(error: unknown): void {
  if (!(error instanceof LabError)) throw error;
}

/**
 * The environment of everything in a host: none of the caller's settings for Docker, Node or a test
 * runner, and this Node first in the path.
 */
function baseEnvironment(): NodeJS.ProcessEnv {
  const { HOME = '/root', LANG = 'C.UTF-8', TERM = 'dumb' } = process.env;
  const system = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  return { HOME, LANG, TERM, PATH: `${dirname(process.execPath)}:${system}` };
}
