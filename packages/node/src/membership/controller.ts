/** What the leader of the system shard does unasked: verdicts on silent peers, members of shards, unfinished volumes. */
import { chooseMembers } from '@holdfast/placement';
import type { NodeNumber, ShardRecord } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import type { Log } from '../telemetry/log.ts';
import { pause } from '../waiting.ts';
import type { Liveness } from './liveness.ts';
import type { Registry } from './registry.ts';
import type { ShardGroups } from './shard-groups.ts';
import type { VolumeLifecycle } from './volumes.ts';

/** Milliseconds between rounds. */
const ROUND_MS = 500;
/** Rounds between looks at who leads what, and at unfinished volumes. */
const SPREAD_ROUNDS = 20;
const VOLUME_ROUNDS = 10;

/** What {@link Controller} works with. */
export interface ControllerOptions {
  readonly registry: Registry;
  readonly liveness: Liveness;
  readonly groups: ShardGroups;
  readonly volumes: VolumeLifecycle;
  readonly log: Log;
}

/** Runs on every peer; decides only where the system shard is led. */
export class Controller {
  readonly #options: ControllerOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #wasLeader = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    for (let round = 1; !this.#stop.signal.aborted; round++) {
      try {
        await this.#round(round);
      } catch (error) {
        // Lost leadership or quorum: the next round, or the next leader, does it again.
        const isPassing = error instanceof HoldfastError && error.kind !== 'bug';
        this.#options.log[isPassing ? 'debug' : 'error']({
          event: 'controller.round.failed',
          error,
        });
      }
      await pause(ROUND_MS, this.#stop.signal);
    }
  }

  async #round(round: number): Promise<void> {
    const { registry, groups, liveness } = this.#options;
    await groups.reconcile();
    if (round % SPREAD_ROUNDS === 0) await groups.spread();
    const { isLeader } = registry;
    if (isLeader && !this.#wasLeader) {
      liveness.begin();
      this.#options.log.info({ event: 'controller.leading' });
    }
    this.#wasLeader = isLeader;
    if (isLeader) await this.#decide(round);
  }

  async #decide(round: number): Promise<void> {
    const { registry, liveness, volumes } = this.#options;
    const { map } = registry.applied();
    if (map === undefined) return;
    for (const change of liveness.verdicts(map.nodes)) {
      await registry.execute(change);
      this.#options.log.warn({ event: 'node.judged', ...change });
    }
    await this.#chooseMembers();
    if (round % VOLUME_ROUNDS === 0) await volumes.rollForward(registry.applied().volumes);
  }

  async #chooseMembers(): Promise<void> {
    const { registry } = this.#options;
    const { map } = registry.applied();
    for (const record of map?.shards ?? []) {
      const present = record.members;
      const load = (node: NodeNumber): number => loadOf(map?.shards ?? [], node);
      const members = chooseMembers({ present, nodes: map?.nodes ?? [], load });
      if (members.length === present.length && members.every((member) => present.includes(member)))
        continue;
      await registry.execute({ op: 'set-shard-members', shard: record.shard, members });
      this.#options.log.info({
        event: 'shard.wanted',
        shard: record.shard,
        from: present,
        to: members,
      });
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

function loadOf(shards: readonly ShardRecord[], node: NodeNumber): number {
  return shards.filter((shard) => shard.members.includes(node)).length;
}
