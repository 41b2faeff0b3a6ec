import { join } from 'node:path';
import {
  type ChunkId,
  type Command,
  type CommandResult,
  encode,
  HoldfastError,
  INTERNAL_SESSION,
  makeChunkId,
  type NodeNumber,
  type Operation,
  type PartitionId,
  ROOT_INODE,
  type SessionId,
  type ShardId,
  type View,
  type VolumeNumber,
} from '@holdfast/protocol';
import { WireClient, WireServer } from '@holdfast/wire';
import { afterEach, describe, expect, it } from 'vitest';
import type { StateMachine } from '../consensus/shard-host.ts';
import { CLUSTER_ID, TestCluster, type TestPeer } from '../consensus/testing/cluster.ts';
import type { SessionNoticeHeader } from './sessions.ts';
import { VolumeShards } from './volume-shards.ts';

const SHARD = 1 as ShardId;
const VOLUME = 7 as VolumeNumber;
const ROOT = { parent: ROOT_INODE };
type Peer = TestPeer<StateMachine>;

interface World {
  readonly cluster: TestCluster<StateMachine>;
  readonly wires: Map<number, { server: WireServer; address: string }>;
  readonly deleted: Set<ChunkId>;
  readonly clients: WireClient[];
}
let world: World | undefined;

/** Peers with their volume shards, clients reach them over TLS. */
async function start(
  peers: number,
  o: { leaseMs?: number; recallWaitMs?: number; everyEntries?: number } = {},
): Promise<World> {
  const wires: World['wires'] = new Map();
  const deleted: World['deleted'] = new Set();
  const shards = new Map<NodeNumber, VolumeShards>();
  const cluster = await TestCluster.start<StateMachine>({
    peers,
    shards: [SHARD],
    driver: {
      compaction: { everyEntries: o.everyEntries ?? 8192, tailEntries: 10 },
    },
    async openMachine(directory, shard, peer) {
      const volumes = await VolumeShards.open(join(directory, 'volumes'), {
        host: peer.driver,
        deleteChunks: async (chunks) => {
          for (const chunk of chunks) deleted.add(chunk);
          return chunks;
        },
        collectGraceMs: 0,
        ...o,
      });
      shards.set(peer.node, volumes);
      const port = Number(wires.get(peer.node)?.address.split(':')[1] ?? 0);
      const server = new WireServer({
        tls: peer.tls,
        clusterId: CLUSTER_ID,
        isRevoked: () => false,
        host: '127.0.0.1',
        port,
      });
      volumes.register(server);
      const bound = await server.listen();
      wires.set(peer.node, { server, address: `127.0.0.1:${bound.port}` });
      return volumes.openShard(shard);
    },
    async killMachines({ node }) {
      await wires.get(node)!.server.close();
      await shards.get(node)!.abandon();
    },
  });
  world = { cluster, wires, deleted, clients: [] };
  await internal({ op: 'init-volume', ...VOLUME_OPTIONS }, VOLUME);
  return world;
}

const VOLUME_OPTIONS = { name: 'v', mode: 0o755, uid: 0, gid: 0, quotaBytes: 0, quotaInodes: 0 };

afterEach(async () => {
  await Promise.all(world!.clients.map((client) => client.close()));
  await world!.cluster.stop();
});

function commandOf(
  session: SessionId,
  sequence: number,
  o: { readonly operation: Operation; readonly volume: VolumeNumber },
): Command {
  const timeNs = BigInt(Date.now()) * 1_000_000n;
  return { v: 1, session, sequence, answeredBelow: 1, timeNs, ...o };
}

async function internal(operation: Operation, volume: VolumeNumber): Promise<void> {
  const leader = await world!.cluster.leader(SHARD);
  const data = encode(commandOf(INTERNAL_SESSION, 1, { operation, volume }));
  expect(await leader.driver.propose(SHARD, data)).toMatchObject({ ok: true });
}

/** A mount as the shard sees one: it follows the leader, and repeats what was not answered. */
class TestSession {
  readonly id: SessionId;
  readonly notices: SessionNoticeHeader[] = [];
  #sequence = 0;
  readonly #world: World;
  readonly #clients = new Map<number, WireClient>();
  onRecall: () => void = () => {};

  constructor(on: World, id: string) {
    this.#world = on;
    this.id = id.padStart(16, '0') as SessionId;
  }

  async #client(peer: Peer): Promise<WireClient> {
    const known = this.#clients.get(peer.node);
    if (known !== undefined) return known;
    const client = new WireClient({
      tls: await this.#world.cluster.client(),
      clusterId: CLUSTER_ID,
      address: this.#world.wires.get(peer.node)!.address,
      connectTimeoutMs: 1000,
      onNotice: (method, header) => {
        if (method !== 'session.notice') throw new RangeError(method);
        this.notices.push(header as SessionNoticeHeader);
        if ((header as SessionNoticeHeader).notice.notice === 'recall') this.onRecall();
      },
    });
    this.#clients.set(peer.node, client);
    this.#world.clients.push(client);
    return client;
  }

  /** Calls the leader until it answers, or refuses. */
  async call<T>(method: string, header: object): Promise<T> {
    return this.#world.cluster.until(async () => {
      const leader = await this.#world.cluster.leader(SHARD);
      try {
        const client = await this.#client(leader);
        return (await client.call<T>(method, { shard: SHARD, ...header })).header;
      } catch (error) {
        const isOutage = error instanceof HoldfastError && error.kind === 'outage';
        if (isOutage && error.code !== 'DELEGATED') return undefined;
        throw error;
      }
    });
  }

  execute(operation: Operation, volume = VOLUME, sequence?: number): Promise<CommandResult> {
    this.#sequence += 1;
    const command = commandOf(this.id, sequence ?? this.#sequence, { operation, volume });
    return this.call('meta.execute', { command });
  }

  view<T>(view: View): Promise<T> {
    return this.call('meta.view', { session: this.id, volume: VOLUME, view });
  }

  keepalive(): Promise<{ leaseMs: number }> {
    return this.call('meta.keepalive', { session: this.id });
  }

  async open(): Promise<this> {
    await this.execute({ op: 'open-session', host: 'here' }, 0 as VolumeNumber);
    await this.keepalive();
    return this;
  }

  create(name: string): Promise<CommandResult> {
    const inode = { kind: 'file', mode: 0o644, uid: 0, gid: 0, rdev: 0, target: '' } as const;
    return this.execute({ op: 'create', ...ROOT, name, ...inode, exclusive: true });
  }

  async names(): Promise<string[]> {
    const view = { view: 'read-directory', ino: ROOT_INODE, after: 0, count: 1000 } as const;
    const { entries } = await this.view<{ entries: { name: string }[] }>(view);
    return entries.map(({ name }) => name);
  }
}

describe('volume shards', () => {
  it('shows every session at once what another has done, staged or not', async () => {
    const on = await start(3);
    const [a, b] = [await new TestSession(on, 'a').open(), await new TestSession(on, 'b').open()];
    for (let i = 0; i < 20; i += 1) {
      expect(await a.create(`file ${i}`)).toMatchObject({ ok: true });
      expect(await b.view({ view: 'lookup', ...ROOT, name: `file ${i}` })).toBeDefined();
      expect(await b.names()).toHaveLength(i + 1);
    }
  });

  it('answers a repeated command as the first time, also after its leader was killed', async () => {
    const on = await start(3);
    const session = await new TestSession(on, 'a').open();
    const operation = {
      op: 'create',
      ...ROOT,
      name: 'once',
      kind: 'file',
      mode: 0o600,
      uid: 1,
      gid: 1,
      rdev: 0,
      target: '',
      exclusive: true,
    } as const;
    const first = await session.execute(operation, VOLUME, 500);
    expect(first).toMatchObject({ ok: true });
    await on.cluster.kill((await on.cluster.leader(SHARD)).node);
    expect(await session.execute(operation, VOLUME, 500)).toEqual(first);
    expect(await session.names()).toEqual(['once']);
  });

  it('tells who leads', async () => {
    const on = await start(3);
    const leader = await on.cluster.leader(SHARD);
    const other = [...on.cluster.peers.values()].find(({ node }) => node !== leader.node)!;
    await on.cluster.until(() => other.driver.leaderOf(SHARD) === leader.node || undefined);
    const client = new WireClient({
      tls: await on.cluster.client(),
      clusterId: CLUSTER_ID,
      address: on.wires.get(other.node)!.address,
      connectTimeoutMs: 1000,
    });
    on.clients.push(client);
    const header = { shard: SHARD, session: 'a'.repeat(16) };
    await expect(client.call('meta.keepalive', header)).rejects.toMatchObject({
      code: 'NOT_LEADER',
      detail: { leader: leader.node },
    });
  });

  it('refuses what only the cluster itself may do, and what is malformed', async () => {
    const on = await start(1);
    const session = await new TestSession(on, 'a').open();
    for (const operation of [
      { op: 'init-volume', ...VOLUME_OPTIONS },
      { op: 'destroy-volume', force: true },
      { op: 'set-quota', quotaBytes: 1, quotaInodes: 1 },
    ] satisfies Operation[]) {
      await expect(session.execute(operation)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    }
    const command = commandOf(INTERNAL_SESSION, 1, {
      volume: VOLUME,
      operation: { op: 'expire-session', expired: session.id },
    });
    await expect(session.call('meta.execute', { command })).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
    await expect(session.call('meta.view', { session: 'x' })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
    await expect(session.execute({ op: 'nonsense' } as never)).resolves.toMatchObject({
      ok: false,
    });
    const expire = { op: 'expire-session', expired: session.id } as const;
    expect(await session.execute(expire, 0 as VolumeNumber)).toMatchObject({ code: 'FORBIDDEN' });
    await expect(session.call('meta.keepalive', { session: 'b'.repeat(16) })).rejects.toMatchObject(
      {
        code: 'SESSION_EXPIRED',
      },
    );
  });

  it('ends a silent session and gives away what it held; one that is heard lives on', async () => {
    const on = await start(3, { leaseMs: 700 });
    const [silent, alive] = [
      await new TestSession(on, 'a').open(),
      await new TestSession(on, 'b').open(),
    ];
    const delegation = await silent.execute({ op: 'acquire-delegation' });
    expect(delegation).toMatchObject({ answer: { delegation: { granted: true } } });
    const beating = setInterval(() => void alive.keepalive().catch(() => {}), 100);
    // Needs the delegation: goes on when its holder has ended.
    expect(await alive.create('after')).toMatchObject({ ok: true });
    clearInterval(beating);
    expect(await silent.create('late')).toMatchObject({ ok: false, code: 'SESSION_EXPIRED' });
    expect(silent.notices.map(({ notice }) => notice.notice)).toContain('recall');
    await on.cluster.until(
      () => silent.notices.some(({ notice }) => notice.notice === 'expired') || undefined,
    );
  });

  it('gets delegations back before another session changes the volume, and gives none meanwhile', async () => {
    const on = await start(3);
    const [holder, other] = [
      await new TestSession(on, 'a').open(),
      await new TestSession(on, 'b').open(),
    ];
    const second = await new TestSession(on, 'c').open();
    const acquire = { op: 'acquire-delegation' } as const;
    await holder.execute(acquire);
    await second.execute(acquire);
    expect(await other.names()).toEqual([]);
    expect(holder.notices).toEqual([]);
    const order: string[] = [];
    const isAsked = Promise.withResolvers<void>();
    second.onRecall = () => isAsked.resolve();
    holder.onRecall = () => {
      void (async () => {
        await isAsked.promise;
        expect(await other.execute(acquire)).toMatchObject({
          answer: { delegation: { granted: false } },
        });
        await holder.execute({ op: 'return-delegation' });
        order.push('one returned');
        await second.execute({ op: 'return-delegation' });
        order.push('both returned');
      })();
    };
    expect(await other.create('x')).toMatchObject({ ok: true });
    order.push('changed');
    expect(order[0]).toBe('one returned');
    expect([...order].sort()).toEqual(['both returned', 'changed', 'one returned']);
    expect(await other.execute(acquire)).toMatchObject({
      answer: { delegation: { granted: true } },
    });
  });

  it('shows a snapshot to every session, without recalling the volume from who holds it', async () => {
    const on = await start(3);
    const [holder, other] = [
      await new TestSession(on, 'a').open(),
      await new TestSession(on, 'b').open(),
    ];
    await holder.execute({ op: 'acquire-delegation' });
    await holder.create('then');
    const taken = await holder.execute({ op: 'create-snapshot', name: 's' });
    const at = taken.ok ? taken.answer.snapshot!.generation : 0;
    await holder.execute({ op: 'unlink', ...ROOT, name: 'then' });
    await holder.create('now');
    const then = { view: 'lookup', ...ROOT, name: 'then', at } as const;
    const list = { view: 'read-directory', ino: ROOT_INODE, after: 0, count: 9, at } as const;
    const isGone = expect.objectContaining({ code: 'ESTALE' });
    for (const isAfterKill of [false, true]) {
      if (isAfterKill) await on.cluster.kill((await on.cluster.leader(SHARD)).node);
      expect(await other.view(then)).toMatchObject({ attributes: { nlink: 1 } });
      expect(await other.view(list)).toMatchObject({ entries: [{ name: 'then' }], end: true });
      await expect(other.view({ ...then, at: at + 1 })).rejects.toEqual(isGone);
    }
    expect(holder.notices.map(({ notice }) => notice.notice)).not.toContain('recall');
    await holder.execute({ op: 'remove-snapshot', name: 's' });
    await expect(other.view(then)).rejects.toEqual(isGone);
  });

  it('gives up a recall that nobody answers, within its bound', async () => {
    const on = await start(1, { recallWaitMs: 300 });
    const [holder, other] = [
      await new TestSession(on, 'a').open(),
      await new TestSession(on, 'b').open(),
    ];
    await holder.execute({ op: 'acquire-delegation' });
    await expect(other.create('x')).rejects.toMatchObject({
      code: 'DELEGATED',
      detail: { sessions: [holder.id] },
    });
  });

  it('tells other sessions of orphans, and again when they come back', async () => {
    const on = await start(3);
    const [a, b] = [await new TestSession(on, 'a').open(), await new TestSession(on, 'b').open()];
    await a.create('gone');
    const removed = await a.execute({ op: 'unlink', ...ROOT, name: 'gone' });
    const orphan = removed.ok ? removed.answer.orphan : undefined;
    const notice = { notice: 'orphans', volume: VOLUME, inos: [orphan] };
    await on.cluster.until(() => b.notices.length > 0 || undefined);
    expect(b.notices[0]).toEqual({ shard: SHARD, session: b.id, notice });
    expect(a.notices).toEqual([]);
    await on.cluster.kill((await on.cluster.leader(SHARD)).node);
    b.notices.length = 0;
    await b.keepalive();
    await on.cluster.until(() => b.notices.length > 0 || undefined);
    expect(b.notices[0]).toEqual({ shard: SHARD, session: b.id, notice });
  });

  it('collects chunks that nothing refers to any more', async () => {
    const on = await start(3);
    const session = await new TestSession(on, 'a').open();
    const created = await session.create('file');
    const { ino } = (created.ok ? created.answer.attributes : undefined)!;
    const chunk = makeChunkId(5 as PartitionId, '0123456789ab', 1);
    const source = { kind: 'chunk', chunk, chunkOffset: 0, chunkLength: 4096 } as const;
    const extents = [{ offset: 0, length: 4096, source }];
    const write = {
      op: 'write-extents',
      ino,
      extents,
      append: false,
      killPrivileges: false,
    } as const;
    expect(await session.execute(write)).toMatchObject({ ok: true });
    await session.execute({ op: 'unlink', ...ROOT, name: 'file' });
    await session.execute({ op: 'release-orphans', inos: [ino] });
    await on.cluster.until(() => on.deleted.has(chunk) || undefined);
  });

  it('keeps everything through kills of all peers, and snapshots to one that was away', async () => {
    const on = await start(3, { everyEntries: 40 });
    const session = await new TestSession(on, 'a').open();
    const leader = await on.cluster.leader(SHARD);
    const away = [1, 2, 3].find((node) => node !== leader.node)!;
    await on.cluster.kill(away);
    const names = Array.from({ length: 120 }, (_, i) => `file ${i}`);
    for (const name of names) await session.create(name);
    await on.cluster.until(() => leader.driver.status(SHARD)!.firstIndex > 40 || undefined);
    const back = await on.cluster.startPeer(away, 'join');
    const commit = leader.driver.status(SHARD)!.commit;
    await on.cluster.until(() => back.driver.status(SHARD)!.applied >= commit || undefined);
    for (const node of [1, 2, 3]) await on.cluster.kill(node);
    await Promise.all([1, 2, 3].map((node) => on.cluster.startPeer(node, 'join')));
    expect((await session.names()).sort()).toEqual(names.sort());
  });
});
