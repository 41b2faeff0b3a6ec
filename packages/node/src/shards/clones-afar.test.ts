import { join } from 'node:path';
import { partialShadows } from '@holdfast/metadata';
import {
  HoldfastError,
  type NodeNumber,
  type Operation,
  type OperationAnswer,
  ROOT_INODE,
  type ShardId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import type { StateMachine } from '../consensus/shard-host.ts';
import { TestCluster } from '../consensus/testing/cluster.ts';
import type { VolumeShard } from './shard.ts';
import { VolumeShards } from './volume-shards.ts';

const BASE_SHARD = 1 as ShardId;
const CLONE_SHARD = 2 as ShardId;
const BASE = 7 as VolumeNumber;
const CLONE = 8 as VolumeNumber;
const BOUNDS = { quotaBytes: 0, quotaInodes: 0 };
const FILE = { kind: 'file', mode: 0o644, uid: 0, gid: 0, rdev: 0, target: '' } as const;

/** One peer with two volume shards; the way from one to the other can be cut. */
class World {
  readonly #cluster: TestCluster<StateMachine>;
  readonly #shards: Map<NodeNumber, VolumeShards>;
  readonly #machines: Map<ShardId, StateMachine>;
  readonly #way: { isCut: boolean };

  private constructor(
    cluster: TestCluster<StateMachine>,
    shards: Map<NodeNumber, VolumeShards>,
    machines: Map<ShardId, StateMachine>,
    way: { isCut: boolean },
  ) {
    this.#cluster = cluster;
    this.#shards = shards;
    this.#machines = machines;
    this.#way = way;
  }

  static async start(): Promise<World> {
    const shards = new Map<NodeNumber, VolumeShards>();
    const machines = new Map<ShardId, StateMachine>();
    const way = { isCut: true };
    const cluster = await TestCluster.start<StateMachine>({
      peers: 1,
      shards: [BASE_SHARD, CLONE_SHARD],
      async openMachine(directory, shard, peer) {
        const known = shards.get(peer.node);
        const volumes: VolumeShards =
          known ??
          (await VolumeShards.open(join(directory, 'volumes'), {
            host: peer.driver,
            deleteChunks: async (chunks) => chunks,
            lookAtBase: async ({ shard: other, volume }, view) => {
              if (way.isCut)
                throw new HoldfastError('NOT_LEADER', undefined, { detail: { leader: 9 } });
              return (await volumes.look({ shard: other, volume, view })) as never;
            },
          }));
        shards.set(peer.node, volumes);
        const machine = await volumes.openShard(shard);
        machines.set(shard, machine);
        return machine;
      },
      async killMachines({ node }) {
        const volumes = shards.get(node);
        shards.delete(node);
        await volumes?.abandon();
      },
    });
    const world = new World(cluster, shards, machines, way);
    await world.run(BASE_SHARD, BASE, {
      op: 'init-volume',
      name: 'v',
      mode: 0o755,
      uid: 0,
      gid: 0,
      ...BOUNDS,
    });
    for (const name of ['a', 'b']) await world.create(BASE_SHARD, BASE, name);
    const { snapshot } = await world.run(BASE_SHARD, BASE, { op: 'create-snapshot', name: 's' });
    const generation = snapshot?.generation ?? 0;
    const hold = { op: 'hold-snapshot', snapshot: 's', generation, by: CLONE } as const;
    const { held } = await world.run(BASE_SHARD, BASE, hold);
    if (held === undefined) throw new Error('nothing is held');
    const where = { shard: BASE_SHARD, from: BASE, generation, held };
    await world.run(CLONE_SHARD, CLONE, { op: 'clone-from-afar', name: 'c', ...where, ...BOUNDS });
    return world;
  }

  async #leader(shard: ShardId): Promise<VolumeShards> {
    const { node } = await this.#cluster.leader(shard);
    const volumes = this.#shards.get(node);
    if (volumes === undefined) throw new Error('the peer is down');
    return volumes;
  }

  async run(shard: ShardId, volume: VolumeNumber, operation: Operation): Promise<OperationAnswer> {
    return (await this.#leader(shard)).run({ shard, volume, operation });
  }

  create(shard: ShardId, volume: VolumeNumber, name: string): Promise<OperationAnswer> {
    const place = { parent: ROOT_INODE, name };
    return this.run(shard, volume, { op: 'create', ...place, ...FILE, exclusive: true });
  }

  async look<V extends View>(view: V): Promise<ViewAnswers[V['view']]> {
    const volumes = await this.#leader(CLONE_SHARD);
    const answer = await volumes.look({ shard: CLONE_SHARD, volume: CLONE, view });
    return answer as ViewAnswers[V['view']];
  }

  async names(): Promise<string[]> {
    const wanted = { view: 'read-directory', ino: ROOT_INODE, after: 0, count: 9 } as const;
    return (await this.look(wanted)).entries.map(({ name }) => name);
  }

  mend(): void {
    this.#way.isCut = false;
  }

  cut(): void {
    this.#way.isCut = true;
  }

  /** Resolves when the leader has copied all. */
  async copied(): Promise<void> {
    const { state } = this.#machines.get(CLONE_SHARD) as VolumeShard;
    await this.#cluster.until(async () =>
      (await partialShadows(state)).length === 0 ? true : undefined,
    );
  }

  stop(): Promise<void> {
    return this.#cluster.stop();
  }
}

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
});

describe('a clone of a snapshot in another shard', () => {
  it('fails as without a quorum while that does not answer, and goes on when it does', async () => {
    world = await World.start();
    const failed = {
      code: 'NO_QUORUM',
      message: expect.stringMatching(/shard 1, which has the snapshot/),
      // Who leads the other shard is nobody to ask for this one.
      detail: { shard: 1 },
    };
    await expect(world.create(CLONE_SHARD, CLONE, 'new')).rejects.toMatchObject(failed);
    const missing = { view: 'lookup', parent: ROOT_INODE, name: 'none' } as const;
    await expect(world.look(missing)).rejects.toMatchObject(failed);
    await expect(world.names()).rejects.toMatchObject(failed);
    world.mend();
    await expect(world.look(missing)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(world.create(CLONE_SHARD, CLONE, 'a')).rejects.toMatchObject({ code: 'EEXIST' });
    await world.create(CLONE_SHARD, CLONE, 'new');
    expect(await world.names()).toEqual(['a', 'b', 'new']);
  });

  it('is copied in the background, and then needs the other shard no more', async () => {
    world = await World.start();
    world.mend();
    await world.copied();
    world.cut();
    await world.run(BASE_SHARD, BASE, { op: 'unlink', parent: ROOT_INODE, name: 'a' });
    await world.run(BASE_SHARD, BASE, { op: 'remove-snapshot', name: 's' });
    expect(await world.names()).toEqual(['a', 'b']);
    await world.run(CLONE_SHARD, CLONE, { op: 'unlink', parent: ROOT_INODE, name: 'b' });
    expect(await world.names()).toEqual(['a']);
  });
});
