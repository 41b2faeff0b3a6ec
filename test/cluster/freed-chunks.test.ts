import { ChunkWriter } from '@holdfast/chunks';
import { ClusterClient } from '@holdfast/client';
import {
  type ChunkId,
  LIMITS,
  makeChunkId,
  type NodeNumber,
  type PartitionId,
  ROOT_INODE,
  type View,
  type ViewAnswers,
  type VolumeRecord,
} from '@holdfast/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryJournal } from '../../packages/client/src/session/journal.ts';
import { Session } from '../../packages/client/src/session/session.ts';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';
import { SEED, seeded } from '../posix/support/random-use.ts';
import { Clock } from './clock.ts';
import { ModelledVolumes } from './modelled-volumes.ts';

/** Times that a leader dies; more by the environment when something is suspected. */
const ROUNDS = Number(process.env['HOLDFAST_KILL_ROUNDS'] ?? 1);
const STEPS = 25;
/** Chunks that are written and never named, each time. */
const GIVEN_UP = 5;
/** Milliseconds that freed chunks stay, and a little more. */
const GRACE_MS = 70_000;

interface Status {
  readonly health: string;
  readonly shards: readonly { readonly members: readonly number[] }[];
  readonly partitions: { readonly moving: number };
}

describe('what volumes, snapshots and clones show', { timeout: 300_000 * ROUNDS }, () => {
  let clock: Clock;
  let cluster: LocalCluster;
  let client: ClusterClient;
  let session: Session;
  beforeAll(async () => {
    console.log(`HOLDFAST_SEED=${SEED}`);
    clock = new Clock();
    process.env['HOLDFAST_ORPHAN_AGE'] = '2s';
    cluster = await startLocalCluster({ peers: 3, mounts: false });
    await until('all members', allWell);
    client = await ClusterClient.connect({ dataDirectory: cluster.peer(0).dataDirectory });
    session = new Session({
      cluster: client.cluster,
      journal: new MemoryJournal(),
      host: 'looks',
      onNotice: () => {},
      onExpired: () => {},
      onRolledBack: async () => {},
      nowNs: () => BigInt(clock.nowMs) * 1_000_000n,
    });
  });
  afterAll(async () => {
    await session?.close();
    await client?.close();
    await cluster?.close();
    delete process.env['HOLDFAST_ORPHAN_AGE'];
    clock?.close();
  });

  /** Every peer is up and has all that it should. */
  const allWell = async (): Promise<boolean> => {
    const text = await cluster.peer(0).holdfast('--json', 'status');
    const { health, shards, partitions } = JSON.parse(text) as Status;
    const isComplete = shards.every(({ members }) => members.length === 3);
    return isComplete && health === 'ok' && partitions.moving === 0;
  };

  /** Chunks that somebody sees, now or in a snapshot. */
  const shownChunks = async (volumes: ModelledVolumes): Promise<Map<ChunkId, number>> => {
    const shown = new Map<ChunkId, number>();
    for (const { record } of volumes.volumes) {
      const snapshots = await client.snapshots.list(record.name);
      for (const at of [undefined, ...snapshots.map(({ generation }) => generation)])
        for (const [chunk, length] of await chunksAt(record, at)) shown.set(chunk, length);
    }
    return shown;
  };
  const chunksAt = async (
    record: VolumeRecord,
    at: number | undefined,
  ): Promise<[ChunkId, number][]> => {
    const look = <V extends View>(view: V): Promise<ViewAnswers[V['view']]> =>
      session.view(
        { shard: record.shard, volume: record.number },
        at === undefined ? view : { ...view, at },
      );
    const listing = { view: 'read-directory', ino: ROOT_INODE, after: 0, count: 100 } as const;
    const chunks: [ChunkId, number][] = [];
    for (const { attributes } of (await look(listing)).entries) {
      const length = Math.min(attributes.size, LIMITS.extentsViewBytesMax);
      const view = { view: 'extents', ino: attributes.ino, offset: 0, length } as const;
      for (const { source } of (await look(view)).extents) {
        if (source.kind === 'chunk') chunks.push([source.chunk, source.chunkLength]);
      }
    }
    return chunks;
  };
  const metricOfAll = (name: string): Promise<number[]> =>
    Promise.all(cluster.peers.map((one) => one.metric(name)));
  /** On every peer is all of this, and nothing else. */
  const seeOnDisks = async (shown: ReadonlyMap<ChunkId, number>): Promise<void> => {
    await until(`${shown.size} chunks on every peer`, async () => {
      // What is given up only now has its grace behind it soon.
      clock.moveTo(clock.nowMs + 5_000);
      const found = await metricOfAll('holdfast_chunks_stored');
      return found.every((one) => one === shown.size);
    });
    for (const { number } of client.cluster.map.nodes) {
      for (const [chunk, length] of shown) {
        const header = { chunk, offset: 0, length };
        await client.cluster.connections.to(number, 'bulk')?.call('chunk.read', header);
      }
    }
  };
  /** Writers that are gone before they name their chunks, the last one before enough peers have it. */
  const giveUp = async (): Promise<ChunkId> => {
    const bytes = Buffer.alloc(100_000, 1);
    const writer = new ChunkWriter(client.cluster);
    const policy = { replicas: 3, minReplicas: 3 };
    const writes = Array.from({ length: GIVEN_UP - 1 }, () => writer.write(bytes, policy));
    const [first] = await Promise.all(writes);
    const { epoch, nodes } = client.cluster.map;
    const chunk = makeChunkId(1 as PartitionId, 'abcdef012345', 0, Math.floor(Date.now() / 1000));
    const header = { chunk, copies: 3, epoch };
    const one = client.cluster.connections.to(nodes[0]?.number ?? (1 as NodeNumber), 'bulk');
    await one?.call('chunk.write', header, { body: bytes });
    return first?.chunk as ChunkId;
  };
  /** A command that comes now names a chunk. */
  const name = async ({ shard, number }: VolumeRecord, chunk: ChunkId): Promise<unknown> => {
    const address = { shard, volume: number };
    const view = { view: 'lookup', parent: ROOT_INODE, name: 'a' } as const;
    const { attributes } = await session.view(address, view);
    const source = { kind: 'chunk', chunk, chunkOffset: 0, chunkLength: 100_000 } as const;
    const extents = [{ offset: 0, length: 100_000, source }];
    const how = { append: false, killPrivileges: false };
    const operation = { op: 'write-extents', ino: attributes.ino, extents, ...how } as const;
    return session.execute(address, operation, session.internalContext());
  };

  it('stays, and nothing else does, whatever is removed and whoever dies meanwhile', async () => {
    const volumes = new ModelledVolumes(client, seeded(SEED));
    await volumes.begin();
    for (let round = 0; round < ROUNDS; round++) {
      for (let step = 0; step < STEPS; step++) await volumes.step();
      for (const volume of volumes.volumes) await volumes.removeSnapshot(volume);
      await giveUp();
      const leader = await cluster.leaderOf('v');
      // What was given up before is due now; what was given up just now is being looked for.
      clock.moveTo(clock.nowMs + GRACE_MS);
      await leader.killNode();
      await volumes.compare();
      leader.startNode();
      await leader.ready();
      await until('all peers', allWell);
    }
    const freedBefore = sum(await metricOfAll('holdfast_orphan_chunks_freed_total'));
    const late = await giveUp();
    clock.moveTo(clock.nowMs + GRACE_MS);
    await volumes.compare();
    await seeOnDisks(await shownChunks(volumes));
    const freed = sum(await metricOfAll('holdfast_orphan_chunks_freed_total')) - freedBefore;
    expect(freed).toBeGreaterThanOrEqual(GIVEN_UP);
    const { record } = await volumes.write();
    await expect(name(record, late)).rejects.toMatchObject({ code: 'CHUNK_FREED' });
    await volumes.compare();
    await volumes.removeAll();
    clock.moveTo(clock.nowMs + GRACE_MS);
    await seeOnDisks(new Map());
  });
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
