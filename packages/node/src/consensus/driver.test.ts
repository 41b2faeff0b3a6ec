import type { NodeNumber, ShardId } from '@holdfast/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { TestCluster, type TestClusterOptions, type TestPeer } from './testing/cluster.ts';
import { FaultyDisk } from './testing/faulty-disk.ts';
import { TallyMachine } from './testing/tally-machine.ts';

const ONE = 1 as ShardId;
const TWO = 2 as ShardId;
type Cluster = TestCluster<TallyMachine>;
let cluster: Cluster | undefined;

async function start(
  peers: number,
  o: Partial<TestClusterOptions<TallyMachine>> = {},
): Promise<Cluster> {
  cluster = await TestCluster.start({
    peers,
    shards: [ONE, TWO],
    openMachine: TallyMachine.open,
    killMachines: async () => {},
    ...o,
  });
  return cluster;
}

afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

const bytes = (text: string) => Buffer.from(text);

function texts(peer: TestPeer<TallyMachine>, shard = ONE): readonly string[] {
  return peer.machines.get(shard)!.texts;
}

/** Proposes until it is answered, as a client would. */
async function propose(on: Cluster, text: string, shard = ONE): Promise<void> {
  await on.until(async () => {
    const leader = await on.leader(shard);
    return leader.driver.propose(shard, bytes(text)).then(
      () => true,
      () => undefined,
    );
  });
}

async function allShow(on: Cluster, count: number, shard = ONE): Promise<void> {
  await on.until(() =>
    [...on.peers.values()].every((peer) => texts(peer, shard).length >= count) ? true : undefined,
  );
}

describe('consensus driver', () => {
  it('commits on its own with one voter and remembers after a kill', async () => {
    const on = await start(1);
    for (let i = 0; i < 10; i += 1) await propose(on, `entry ${i}`);
    const tooLarge = (await on.leader(ONE)).driver.propose(ONE, Buffer.alloc(9e6));
    await expect(tooLarge).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await on.kill(1);
    const peer = await on.startPeer(1, [1 as NodeNumber]);
    await (await on.leader(ONE)).driver.readBarrier(ONE);
    expect(texts(peer)).toEqual(Array.from({ length: 10 }, (_, i) => `entry ${i}`));
  });

  it('replicates to three in the same order, and tells who leads', async () => {
    const on = await start(3);
    const leader = await on.leader(ONE);
    const results = await Promise.all(
      Array.from({ length: 100 }, (_, i) => leader.driver.propose(ONE, bytes(`entry ${i}`))),
    );
    expect(results).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    await allShow(on, 100);
    for (const peer of on.peers.values()) expect(texts(peer)).toEqual(texts(leader));
    const other = [...on.peers.values()].find(({ node }) => node !== leader.node)!;
    await on.until(() => other.driver.leaderOf(ONE) === leader.node || undefined);
    await expect(other.driver.propose(ONE, bytes('no'))).rejects.toMatchObject({
      code: 'NOT_LEADER',
      detail: { leader: leader.node },
    });
    await expect(other.driver.readBarrier(ONE)).rejects.toMatchObject({ code: 'NOT_LEADER' });
  });

  it('loses nothing acknowledged when the leader is killed, and takes it back in', async () => {
    const on = await start(3);
    const acknowledged: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const leader = await on.leader(ONE);
      for (let i = 0; i < 20; i += 1) {
        const text = `round ${round} entry ${i}`;
        await propose(on, text);
        acknowledged.push(text);
      }
      await on.kill(leader.node);
      await propose(on, `after ${round}`);
      acknowledged.push(`after ${round}`);
      await on.startPeer(leader.node, 'join');
    }
    await allShow(on, acknowledged.length);
    const [first, ...others] = [...on.peers.values()];
    for (const text of acknowledged) expect(texts(first!)).toContain(text);
    for (const other of others) expect(texts(other)).toEqual(texts(first!));
  });

  it('neither acknowledges nor shows anything on the smaller side of a partition', async () => {
    const on = await start(3, { driver: { waitMs: 1500 } });
    const old = await on.leader(ONE);
    await propose(on, 'before');
    const others = [1, 2, 3].filter((node) => node !== old.node);
    for (const node of others) on.cut(old.node, node);
    const lost = old.driver.propose(ONE, bytes('lost')).then(
      () => 'acknowledged',
      (error: { code: string }) => error.code,
    );
    const stale = old.driver.readBarrier(ONE).then(
      () => 'answered',
      (error: { code: string }) => error.code,
    );
    const leader = await on.leader(ONE, others);
    await leader.driver.propose(ONE, bytes('kept'));
    expect(['NO_QUORUM', 'UNKNOWN_OUTCOME']).toContain(await lost);
    expect(['NOT_LEADER', 'NO_QUORUM']).toContain(await stale);
    on.heal();
    await allShow(on, 2);
    for (const peer of on.peers.values()) expect(texts(peer)).toEqual(['before', 'kept']);
  });

  it('sends a snapshot to a peer that was away longer than the log goes back', async () => {
    const compaction = { everyEntries: 50, everyBytes: 1e6, tailEntries: 10, tailBytes: 1e6 };
    const on = await start(3, { driver: { compaction } });
    const leader = await on.leader(ONE);
    const away = [1, 2, 3].find((node) => node !== leader.node)!;
    await propose(on, 'first');
    await on.kill(away);
    for (let i = 0; i < 300; i += 1) await propose(on, `entry ${i}`);
    await on.until(() => leader.driver.status(ONE)!.firstIndex > 100 || undefined);
    const back = await on.startPeer(away, 'join');
    await allShow(on, 301);
    expect(back.driver.status(ONE)!.firstIndex).toBeGreaterThan(100);
    expect(texts(back)).toEqual(texts(leader));
    // What was installed survives the next kill.
    await on.kill(away);
    const again = await on.startPeer(away, 'join');
    await propose(on, 'last');
    await allShow(on, 302);
    expect(texts(again).at(-1)).toBe('last');
  });

  it('grows from one voter to three and shrinks again', async () => {
    const on = await start(1);
    await propose(on, 'alone');
    await on.startPeer(2, 'join');
    await on.startPeer(3, 'join');
    const voters = [1, 2, 3] as NodeNumber[];
    const first = await on.leader(ONE);
    await first.driver.changeMembers(ONE, { voters, learners: [] });
    await propose(on, 'together');
    await allShow(on, 2);
    await first.driver.transfer(ONE, 2 as NodeNumber);
    const second = await on.leader(ONE, [2]);
    expect(second.node).toBe(2);
    await second.driver.changeMembers(ONE, { voters: [2, 3] as NodeNumber[], learners: [] });
    await on.kill(1);
    await propose(on, 'without the first');
    expect(second.driver.status(ONE)!.membership.voters).toEqual([2, 3]);
  });

  it('takes a bounded number of proposals while nothing can be committed', async () => {
    const on = await start(3, { driver: { waitMs: 500, proposalsMax: 10 } });
    const leader = await on.leader(ONE);
    for (const node of [1, 2, 3]) if (node !== leader.node) on.cut(leader.node, node);
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        leader.driver.propose(ONE, bytes(`${i}`)).catch(({ code }: { code: string }) => code),
      ),
    );
    expect(outcomes.slice(10)).toEqual(['OVERLOADED', 'OVERLOADED']);
    expect(['NO_QUORUM', 'UNKNOWN_OUTCOME']).toContain(outcomes[0]);
  });

  it('refuses proposals while the disk is full, and takes them again when it has room', async () => {
    const disk = new FaultyDisk();
    const on = await start(1, { wal: { disk, retryMs: 1, segmentBytes: 65_536 } });
    await propose(on, 'before');
    disk.fault = 'full';
    const { driver } = await on.leader(ONE);
    const refusal = await on.until(() =>
      driver.propose(ONE, Buffer.alloc(1000, 'x')).then(
        () => undefined,
        (error: { code: string }) => error.code,
      ),
    );
    expect(refusal).toBe('ENOSPC');
    await driver.readBarrier(ONE);
    disk.fault = 'none';
    await propose(on, 'after');
    expect(texts([...on.peers.values()][0]!).at(-1)).toBe('after');
  });

  it('ends everything with the first sign of a failing disk, acknowledging nothing more', async () => {
    const disk = new FaultyDisk();
    const on = await start(1, { wal: { disk } });
    await propose(on, 'before');
    const { driver } = await on.leader(ONE);
    disk.fault = 'sync-fails';
    await expect(driver.propose(ONE, bytes('never'))).rejects.toMatchObject({
      code: 'SHUTTING_DOWN',
    });
    expect(on.fatal.splice(0)).toMatchObject([{ code: 'DISK_FAILED' }, { code: 'DISK_FAILED' }]);
    await expect(driver.propose(ONE, bytes('no'))).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    await expect(driver.readBarrier(ONE)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });

  it('works on after a full stop of all peers', async () => {
    const on = await start(3);
    for (let i = 0; i < 20; i += 1) await propose(on, `entry ${i}`, i % 2 === 0 ? ONE : TWO);
    for (const node of [1, 2, 3]) await on.kill(node);
    await Promise.all([1, 2, 3].map((node) => on.startPeer(node, 'join')));
    await propose(on, 'after');
    await allShow(on, 11);
    await allShow(on, 10, TWO);
    for (const peer of on.peers.values()) expect(texts(peer).at(-1)).toBe('after');
  });
});
