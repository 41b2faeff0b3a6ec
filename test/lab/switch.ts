import { mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './errors.ts';
import {
  endRecorded,
  launch,
  readRecord,
  recordOf,
  run,
  waitFor,
  writeRecord,
} from './processes.ts';

/** One direction that carries nothing: frames from `from` to `to`, host numbers; 0 stands for all. */
interface Cut {
  readonly from: number;
  readonly to: number;
}

/**
 * The network between the hosts: a bridge in a network namespace of its own, which one sleeping
 * process holds open. Nothing is added to the machine's own interfaces, routes or firewall, and there
 * is no way out.
 */
export class Switch {
  readonly #dir: string;

  /** `dir` holds the switch's state: the holder's record and the cuts in force. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The address of host `number` (0: the switch itself, an observer outside all hosts). */
  static address(number: number): string {
    return `10.77.0.${number === 0 ? 254 : number}`;
  }

  async create(): Promise<void> {
    mkdirSync(this.#dir, { recursive: true });
    const holder = launch(['unshare', '-n', '--', 'sleep', 'infinity'], 'ignore');
    holder.unref();
    if (holder.pid === undefined) throw new LabError('cannot run unshare');
    const { pid } = holder;
    const own = readlinkSync('/proc/self/ns/net');
    await waitFor('a network namespace', () => readlinkSync(`/proc/${pid}/ns/net`) !== own, 10_000);
    writeRecord(this.#record, recordOf(pid));
    await this.#ip('link', 'set', 'lo', 'up');
    await this.#ip('link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0');
    await this.#ip('link', 'set', 'br0', 'up');
    await this.#ip('addr', 'add', `${Switch.address(0)}/24`, 'dev', 'br0');
    this.#writeCuts([]);
  }

  /** Plugs a host in: eth0 in the network namespace of process `init`, its other end at the bridge. */
  async plug(number: number, init: number): Promise<void> {
    await this.unplug(number);
    const inHost = ['nsenter', '-t', `${init}`, '-n', '--', 'ip'];
    const peer = ['peer', 'name', 'eth0', 'netns', `${init}`];
    await this.#ip('link', 'add', port(number), 'type', 'veth', ...peer);
    await this.#ip('link', 'set', port(number), 'master', 'br0', 'up');
    await run([...inHost, 'link', 'set', 'lo', 'up']);
    await run([...inHost, 'addr', 'add', `${Switch.address(number)}/24`, 'dev', 'eth0']);
    await run([...inHost, 'link', 'set', 'eth0', 'up']);
  }

  async unplug(number: number): Promise<void> {
    await run(this.command(['ip', 'link', 'del', port(number)]), { check: false });
  }

  /** The command line that runs `argv` at the switch. */
  command(argv: readonly string[]): string[] {
    const holder = readRecord(this.#record);
    if (holder === undefined) throw new LabError('the lab is down');
    return ['nsenter', '-t', `${holder.pid}`, '-n', '--', ...argv];
  }

  /** Drops, from now on, all frames in the given direction, beside those that are dropped already. */
  async cut(cuts: readonly Cut[]): Promise<void> {
    await this.#apply([...this.cuts(), ...cuts]);
  }

  /** Ends the cuts that name this host, or all. */
  async heal(number?: number): Promise<void> {
    const remaining = this.cuts().filter((cut) => cut.from !== number && cut.to !== number);
    await this.#apply(number === undefined ? [] : remaining);
  }

  /** The cuts in force. */
  cuts(): Cut[] {
    return JSON.parse(readFileSync(join(this.#dir, 'cuts.json'), 'utf8')) as Cut[];
  }

  async destroy(): Promise<void> {
    await endRecorded(this.#record);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  get #record(): string {
    return join(this.#dir, 'holder.json');
  }

  async #apply(cuts: readonly Cut[]): Promise<void> {
    const rules = cuts.flatMap(rulesOf);
    // One call replaces the whole table, so no frame ever passes between two rules.
    const chains = [':INPUT ACCEPT', ':FORWARD ACCEPT', ':OUTPUT ACCEPT'];
    const input = ['*filter', ...chains, ...rules, ''].join('\n');
    await run(this.command(['ebtables-restore']), { input });
    this.#writeCuts(cuts);
  }

  #writeCuts(cuts: readonly Cut[]): void {
    writeFileSync(join(this.#dir, 'cuts.json'), JSON.stringify(cuts));
  }

  #ip(...args: string[]): Promise<unknown> {
    return run(this.command(['ip', ...args]));
  }
}

function port(number: number): string {
  return `host${number}`;
}

/** The rules of one cut. With 0 on one side also the switch itself, the observer, is cut off. */
function rulesOf({ from, to }: Cut): string[] {
  const source = from === 0 ? '' : ` -i ${port(from)}`;
  const target = to === 0 ? '' : ` -o ${port(to)}`;
  const rules = [`-A FORWARD${source}${target} -j DROP`];
  if (to === 0 && from !== 0) rules.push(`-A INPUT${source} -j DROP`);
  if (from === 0 && to !== 0) rules.push(`-A OUTPUT${target} -j DROP`);
  return rules;
}
