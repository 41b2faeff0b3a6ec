import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { removeLabGroup } from './cgroups.ts';
import { LabError } from './errors.ts';
import { Host } from './host.ts';
import { isAlive, type RecordedProcess, recordOf, run, waitFor } from './processes.ts';
import { Switch } from './switch.ts';

const PREFIX = 'holdfast-lab-';

/** none: bare hosts; engine: a Docker Engine each; swarm: the engines form one Swarm. */
export type LabKind = 'none' | 'engine' | 'swarm';

/** What {@link Lab.up} makes. */
export interface LabOptions {
  /** Hosts, 1 to 20. */
  readonly hosts: number;
  /** Default swarm. */
  readonly kind?: LabKind;
  /** Swarm managers; default 3 of 3 or more hosts, else 1. */
  readonly managers?: number;
  /** True: the lab outlives this process until someone calls `down`. Default false. */
  readonly keep?: boolean;
}

interface LabState {
  readonly hosts: number;
  readonly kind: LabKind;
  /** The process without which the lab is abandoned; undefined: it is kept. */
  readonly owner?: RecordedProcess;
}

/**
 * N hosts made of Linux namespaces on one machine, joined by a switch of their own and, if wanted, by
 * one Docker Swarm. All state lies in one folder of the system's temporary directory, so labs can run
 * side by side. Needs root.
 */
export class Lab {
  /** The folder of all the lab's state; the name of its last part is unique among labs. */
  readonly root: string;
  readonly hosts: readonly Host[];
  readonly switch: Switch;
  readonly #state: LabState;

  private constructor(root: string, state: LabState) {
    this.root = root;
    this.#state = state;
    this.switch = new Switch(join(root, 'switch'));
    this.hosts = Array.from({ length: state.hosts }, (_, index) => {
      return new Host(root, index + 1, basename(root), state.kind !== 'none');
    });
  }

  /**
   * Makes and starts a lab. Labs whose owner has died are taken down first. When it fails it leaves
   * nothing behind. Throws LabError.
   */
  static async up(options: LabOptions): Promise<Lab> {
    const { hosts, kind = 'swarm', keep = false, managers = hosts >= 3 ? 3 : 1 } = options;
    if (!Number.isInteger(hosts) || hosts < 1 || hosts > 20)
      throw new LabError('a lab has 1 to 20 hosts');
    if (process.getuid?.() !== 0)
      throw new LabError('the lab needs root: namespaces, mounts, loop devices');
    await Lab.sweep();
    const root = mkdtempSync(join(tmpdir(), PREFIX));
    const state: LabState = { hosts, kind, ...(keep ? {} : { owner: recordOf(process.pid) }) };
    writeFileSync(join(root, 'lab.json'), JSON.stringify(state));
    const lab = new Lab(root, state);
    try {
      await lab.#start(managers);
      return lab;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  /** A lab that is up, by its folder. Throws LabError when there is none. */
  static attach(root: string): Lab {
    const path = join(root, 'lab.json');
    if (!existsSync(path)) throw new LabError(`no lab in ${root}`);
    return new Lab(root, JSON.parse(readFileSync(path, 'utf8')) as LabState);
  }

  /** The folders of all labs of this machine. */
  static roots(): string[] {
    return readdirSync(tmpdir())
      .filter((name) => name.startsWith(PREFIX))
      .map((name) => join(tmpdir(), name))
      .filter((root) => existsSync(join(root, 'lab.json')));
  }

  /** Takes down the labs whose owner has died without doing so. */
  static async sweep(): Promise<void> {
    for (const root of Lab.roots()) {
      try {
        const lab = Lab.attach(root);
        if (lab.isAbandoned) await lab.down();
      } catch (error) {
        // Someone else may be taking the same lab down; only one that stays is worth a word.
        if (existsSync(root)) process.stderr.write(`lab: ${root} stays: ${String(error)}\n`);
      }
    }
  }

  /** True when the process for which the lab was made is gone. */
  get isAbandoned(): boolean {
    return this.#state.owner !== undefined && !isAlive(this.#state.owner);
  }

  /** A host by number (from 1) or name. Throws LabError when there is none. */
  host(which: number | string): Host {
    const found = this.hosts.find((host) => host.number === which || host.name === which);
    if (found === undefined)
      throw new LabError(`no host ${which}; there are h1 to h${this.hosts.length}`);
    return found;
  }

  /** Cuts a host off from all others, or (both ways) from the given ones only. Its link stays up. */
  async partition(which: Host, ...others: readonly Host[]): Promise<void> {
    const targets = others.length === 0 ? [0] : others.map((other) => other.number);
    await this.switch.cut(
      targets.flatMap((to) => [
        { from: which.number, to },
        { from: to, to: which.number },
      ]),
    );
  }

  /** Drops what `from` sends to `to`; the other direction works. */
  async cut(from: Host, to: Host): Promise<void> {
    await this.switch.cut([{ from: from.number, to: to.number }]);
  }

  /** Ends the cuts of a host, or all. */
  heal(which?: Host): Promise<void> {
    return this.switch.heal(which?.number);
  }

  /**
   * Puts an image on every running host, under the same id, without a registry. `tar` is a root file
   * system, or what `docker save` wrote.
   */
  async image(name: string, tar: string): Promise<void> {
    const { stdout } = await run(['tar', '-tf', tar]);
    if (/^manifest\.json$/m.test(stdout)) return this.#load(tar, this.#running());
    const first = this.#someHost();
    await first.docker(['import', tar, name], { timeoutMs: 300_000 });
    await this.share(name, first);
  }

  /** Copies an image that one host has (built there, for example) to all other running hosts. */
  async share(name: string, source: Host): Promise<void> {
    const others = this.#running().filter((host) => host !== source);
    if (others.length === 0) return;
    const tar = join(this.root, `image-${process.pid}.tar`);
    try {
      await source.docker(['save', '-o', tar, name], { timeoutMs: 300_000 });
      await this.#load(tar, others);
    } finally {
      rmSync(tar, { force: true });
    }
  }

  /** Waits until every running host is an active member of the Swarm and a manager calls it Ready. */
  async ready(timeoutMs = 90_000): Promise<void> {
    await waitFor('the Swarm to be ready', () => this.#isReady(), timeoutMs);
  }

  /** Ends every process of the lab and removes all it made. Throws the first LabError at the end. */
  async down(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of [
      ...this.hosts.map((host) => () => host.kill()),
      () => this.switch.destroy(),
    ]) {
      await step().catch((error: unknown) => failures.push(error));
    }
    removeLabGroup(`/${basename(this.root)}`);
    if (failures.length > 0) throw failures[0];
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    if (mounts.includes(` ${this.root}/`))
      throw new LabError(`something is mounted below ${this.root}`);
    rmSync(this.root, { recursive: true, force: true });
  }

  async #start(managers: number): Promise<void> {
    await this.switch.create();
    const names = this.hosts.map((host) => `${host.address} ${host.name}`);
    const hostsFile = `${['127.0.0.1 localhost', ...names].join('\n')}\n`;
    await Promise.all(
      this.hosts.map(async (host) => {
        mkdirSync(join(this.root, host.name));
        writeFileSync(join(this.root, host.name, 'hosts'), hostsFile);
        await host.create();
        await host.start();
      }),
    );
    if (this.#state.kind === 'swarm') await this.#formSwarm(managers);
  }

  async #formSwarm(managers: number): Promise<void> {
    const [first, ...others] = this.hosts as [Host, ...Host[]];
    await first.docker(['swarm', 'init', '--advertise-addr', first.address]);
    const token = async (role: string): Promise<string> => {
      return (await first.docker(['swarm', 'join-token', '-q', role])).stdout.trim();
    };
    const [manager, worker] = [await token('manager'), await token('worker')];
    // One after the other: each new manager needs the quorum of those before it.
    for (const host of others) {
      const secret = host.number <= managers ? manager : worker;
      const join = ['swarm', 'join', '--advertise-addr', host.address, '--token', secret];
      await host.docker([...join, `${first.address}:2377`]);
    }
    await this.ready();
  }

  async #isReady(): Promise<boolean> {
    const running = this.#running();
    const states = await Promise.all(running.map((host) => host.engine.swarmState()));
    const manager = running[states.findIndex((state) => state.isManager)];
    if (manager === undefined || !states.every((state) => state.isActive)) return false;
    const list = ['node', 'ls', '--format', '{{.Hostname}} {{.Status}}'];
    const lines = (await manager.docker(list, { check: false })).stdout.split('\n');
    return running.every((host) => lines.includes(`${host.name} Ready`));
  }

  async #load(tar: string, hosts: readonly Host[]): Promise<void> {
    await Promise.all(
      hosts.map((host) => host.docker(['load', '-q', '-i', tar], { timeoutMs: 300_000 })),
    );
  }

  #running(): Host[] {
    return this.hosts.filter((host) => host.isUp);
  }

  #someHost(): Host {
    const [first] = this.#running();
    if (first === undefined) throw new LabError('no host is up');
    return first;
  }
}
