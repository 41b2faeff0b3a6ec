import { chmodSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { missingCapabilities } from './capabilities.ts';
import { LabError } from './errors.ts';
import type { Host } from './host.ts';
import { launch, type RunOptions, type RunResult, run, waitFor } from './processes.ts';

/** The client that belongs to the engine's package; another one in the path may have no engine here. */
const CLIENT = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';

/** What a host's membership of the Swarm looks like from its own engine. */
export interface SwarmState {
  readonly isActive: boolean;
  readonly isManager: boolean;
}

/** The Docker Engine of one host. */
export class Engine {
  /** The engine's socket on the machine, for clients outside the host. */
  readonly socket: string;
  readonly #host: Host;
  readonly #dir: string;
  readonly #cgroupParent: string;

  constructor(host: Host, dir: string, cgroupParent: string) {
    this.#host = host;
    this.#dir = dir;
    this.#cgroupParent = cgroupParent;
    this.socket = join(dir, 'docker.sock');
  }

  /** Starts dockerd and waits until it answers. */
  async start(): Promise<void> {
    rmSync(this.socket, { force: true });
    const config = join(this.#dir, 'daemon.json');
    writeFileSync(config, JSON.stringify(this.#configuration()));
    const log = openSync(this.#log, 'a');
    const child = launch(this.#host.command(['dockerd', '--config-file', config]), [
      'ignore',
      log,
      log,
    ]);
    child.unref();
    await waitFor(
      `the engine of ${this.#host.name} to answer`,
      async () => {
        if (child.exitCode !== null) throw new LabError(`dockerd ended: ${this.log.slice(-2000)}`);
        return (
          existsSync(this.socket) && (await this.client(['version'], { check: false })).status === 0
        );
      },
      90_000,
    );
  }

  /** Ends dockerd (only it; with SIGKILL its containers run on for the moment) and waits for that. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const script =
      'p=$(cat /run/docker.pid); kill "-$1" "$p"; while [ -d "/proc/$p" ]; do sleep 0.05; done';
    await this.#host.exec(['sh', '-c', script, 'stop', signal.slice(3)]);
  }

  /** Runs the Docker client against this engine. The classic builder is used: it needs no network. */
  client(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run([CLIENT, '-H', `unix://${this.socket}`, ...args], {
      ...options,
      env: { ...process.env, DOCKER_BUILDKIT: '0', DOCKER_CONTEXT: '', ...options.env },
    });
  }

  /** The engine's log so far. */
  get log(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : '';
  }

  async swarmState(): Promise<SwarmState> {
    const format = '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Error}}';
    const { stdout } = await this.client(['info', '--format', format], { check: false });
    const [state, control, ...error] = stdout.trim().split(' ');
    return { isActive: state === 'active' && error.length === 0, isManager: control === 'true' };
  }

  get #log(): string {
    return join(this.#dir, 'dockerd.log');
  }

  #configuration(): object {
    return {
      hosts: ['unix:///run/docker.sock', `unix://${this.socket}`],
      'data-root': '/var/lib/docker',
      'exec-root': '/run/docker',
      pidfile: '/run/docker.pid',
      'cgroup-parent': this.#cgroupParent,
      'exec-opts': ['native.cgroupdriver=cgroupfs'],
      ...this.#runtime(),
    };
  }

  #runtime(): object {
    if (missingCapabilities().length === 0) return {};
    const path = join(this.#dir, 'runc');
    const wrapper = join(import.meta.dirname, 'runc', 'main.ts');
    writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${wrapper}' "$@"\n`);
    chmodSync(path, 0o755);
    return { runtimes: { trimmed: { path } }, 'default-runtime': 'trimmed' };
  }
}
