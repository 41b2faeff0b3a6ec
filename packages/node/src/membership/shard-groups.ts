/** The Raft groups of this peer follow the map: opened, closed, and on their leader given the members wanted. */
import { HoldfastError, type NodeNumber, type ShardId, type ShardRecord } from '@holdfast/protocol';
import type { ShardHost, StateMachine } from '../consensus/shard-host.ts';
import type { Log } from '../telemetry/log.ts';
import type { MapCache } from './map-cache.ts';

/** What a peer keeps of a shard besides its log. */
export interface ShardParts {
  /** Opens the shard's state on this peer; an empty one when it was not here before. */
  open(shard: ShardId): Promise<StateMachine>;
  /** Closes it; the log is closed already. */
  close(shard: ShardId): Promise<void>;
  /** Removes it from the disk. */
  remove(shard: ShardId): Promise<void>;
}

/** What {@link ShardGroups} works with. */
export interface ShardGroupsOptions {
  readonly self: NodeNumber;
  readonly host: ShardHost;
  readonly parts: ShardParts;
  readonly map: MapCache;
  readonly log: Log;
}

/** Reconciles again and again; each step is small and repeatable. */
export class ShardGroups {
  readonly #options: ShardGroupsOptions;
  readonly #changing = new Set<ShardId>();
  readonly #opened = new Set<ShardId>();
  #reconciling: Promise<void> = Promise.resolve();

  constructor(options: ShardGroupsOptions) {
    this.#options = options;
  }

  /** Opens a shard; see ShardHost.openShard for `members`. */
  async open(shard: ShardId, members: readonly NodeNumber[] | 'join'): Promise<void> {
    const { host, parts } = this.#options;
    if (this.#opened.has(shard)) return;
    const machine = await parts.open(shard);
    try {
      await host.openShard(shard, machine, members);
    } catch (error) {
      await parts.close(shard);
      throw error;
    }
    this.#opened.add(shard);
  }

  /** Makes one round; rounds never overlap. */
  reconcile(): Promise<void> {
    this.#reconciling = this.#reconciling.then(() => this.#round());
    return this.#reconciling;
  }

  async #round(): Promise<void> {
    const shards = this.#options.map.current?.shards ?? [];
    for (const record of shards) {
      try {
        await this.#follow(record);
      } catch (error) {
        this.#options.log.warn({ event: 'shard.unsettled', shard: record.shard, error });
      }
    }
  }

  async #follow(record: ShardRecord): Promise<void> {
    const { self, host } = this.#options;
    const isWanted = record.members.includes(self);
    if (isWanted) await this.open(record.shard, 'join');
    if (!this.#opened.has(record.shard)) return;
    if (host.isLeader(record.shard)) this.#lead(record);
    else if (!isWanted && this.#isOutside(record.shard)) await this.#leave(record.shard);
  }

  /** Whether the group's own log says that this peer is no member. A joining peer knows no members at all. */
  #isOutside(shard: ShardId): boolean {
    const membership = this.#options.host.status(shard)?.membership;
    if (membership === undefined || membership.voters.length === 0) return false;
    const members = [...membership.voters, ...membership.votersOutgoing, ...membership.learners];
    return !members.includes(this.#options.self);
  }

  async #leave(shard: ShardId): Promise<void> {
    const { host, parts, log } = this.#options;
    this.#opened.delete(shard);
    await host.closeShard(shard);
    await parts.close(shard);
    await host.dropShard(shard);
    await parts.remove(shard);
    log.info({ event: 'shard.left', shard });
  }

  /** The members wanted become the members; takes as long as a new one needs to catch up, so others go on. */
  #lead(record: ShardRecord): void {
    const { host, log } = this.#options;
    const { shard, members } = record;
    const membership = host.status(shard)?.membership;
    if (membership === undefined || this.#changing.has(shard)) return;
    const isSettled = membership.votersOutgoing.length === 0 && membership.learners.length === 0;
    if (isSettled && sameMembers(membership.voters as readonly NodeNumber[], members)) return;
    this.#changing.add(shard);
    log.info({ event: 'shard.changing', shard, from: membership.voters, to: members });
    host
      .changeMembers(shard, { voters: members, learners: [] })
      .then(
        () => log.info({ event: 'shard.changed', shard, voters: members }),
        (error: unknown) => log.warn({ event: 'shard.unchanged', shard, error }),
      )
      .finally(() => this.#changing.delete(shard));
  }

  /** Hands over what this peer leads, each to the voter that leads least; for a stop in order. */
  async handOver(): Promise<void> {
    const { host, self, log } = this.#options;
    for (const shard of host.shards()) {
      if (!host.isLeader(shard)) continue;
      const to = this.#leastLeading(shard, (member) => member !== self);
      if (to === undefined) continue;
      await host
        .transfer(shard, to)
        .catch((error: unknown) => log.warn({ event: 'shard.kept', shard, error }));
    }
  }

  /** Hands one shard over when another of its voters leads at least two fewer. */
  async spread(): Promise<void> {
    const { host, self } = this.#options;
    const led = host.shards().filter((shard) => host.isLeader(shard));
    for (const shard of led) {
      const to = this.#leastLeading(shard, (member) => member === self || this.#isUp(member));
      if (to === undefined || to === self || this.#leads(to) + 2 > led.length) continue;
      await host.transfer(shard, to);
      return;
    }
  }

  #leastLeading(shard: ShardId, mayLead: (member: NodeNumber) => boolean): NodeNumber | undefined {
    const voters = (this.#options.host.status(shard)?.membership.voters ??
      []) as readonly NodeNumber[];
    const [first] = voters
      .filter(mayLead)
      .filter((member) => member === this.#options.self || this.#isUp(member))
      .sort((a, b) => this.#leads(a) - this.#leads(b) || a - b);
    return first;
  }

  #leads(member: NodeNumber): number {
    const { host } = this.#options;
    return host.shards().filter((shard) => host.leaderOf(shard) === member).length;
  }

  #isUp(member: NodeNumber): boolean {
    return this.#options.map.node(member)?.state === 'up';
  }

  /** Closes all; the host itself is closed before. */
  async close(): Promise<void> {
    await this.#reconciling;
    for (const shard of this.#opened) {
      await this.#options.host.closeShard(shard).catch(ignoreStopped);
      await this.#options.parts.close(shard);
    }
    this.#opened.clear();
  }
}

function ignoreStopped(error: unknown): void {
  if (error instanceof HoldfastError && error.code === 'SHUTTING_DOWN') return;
  throw error;
}

function sameMembers(a: readonly NodeNumber[], b: readonly NodeNumber[]): boolean {
  return a.length === b.length && a.every((member) => b.includes(member));
}
