/** Peers in one process for tests: real sockets with real TLS, real disks; killed, cut off, started again. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NodeNumber, ShardId } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import {
  createAuthority,
  createRequest,
  issue,
  type KeyPair,
  newSerial,
} from '../../membership/certificates.ts';
import { RpcServer } from '../../rpc/server.ts';
import { ConsensusDriver, type DriverOptions } from '../driver.ts';
import type { GroupMessage } from '../raft-codec.ts';
import type { RaftTransport, TransportReceiver } from '../raft-transport.ts';
import type { StateMachine } from '../shard-host.ts';
import { GrpcRaftTransport } from '../transport.ts';
import { Wal, type WalOptions } from '../wal.ts';

/** The cluster of all test certificates. */
export const CLUSTER_ID = '00112233445566778899aabbccddeeff';

/** A certificate of role node (or of a client) from an authority. */
export async function certificateFor(
  authority: KeyPair,
  node: number,
  role: 'node' | 'client' = 'node',
  clusterId = CLUSTER_ID,
): Promise<TlsMaterial> {
  const { request, key } = await createRequest();
  const subject = { clusterId, role, name: `peer-${node}`, node: node as NodeNumber };
  const now = Date.now();
  const cert = await issue(authority, request, subject, { serial: newSerial(), now });
  return { ca: authority.cert, cert, key };
}

/** Lets messages through, or not, as a test says. */
class BreakableTransport implements RaftTransport {
  readonly #inner: GrpcRaftTransport;
  readonly #isCut: (from: number, to: number) => boolean;

  constructor(inner: GrpcRaftTransport, isCut: (from: number, to: number) => boolean) {
    this.#inner = inner;
    this.#isCut = isCut;
  }

  start(receiver: TransportReceiver): void {
    this.#inner.start(receiver);
  }

  send(message: GroupMessage): void {
    const { from, to } = message.message;
    if (!this.#isCut(from, to)) this.#inner.send(message);
  }

  async sendSnapshot(
    begin: GroupMessage,
    stream: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    const { from, to } = begin.message;
    if (this.#isCut(from, to)) throw new RangeError('cut off');
    await this.#inner.sendSnapshot(begin, stream, signal);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** One peer that runs. */
export interface TestPeer<M extends StateMachine> {
  readonly node: NodeNumber;
  readonly driver: ConsensusDriver;
  readonly wal: Wal;
  readonly machines: ReadonlyMap<ShardId, M>;
  readonly server: RpcServer;
  readonly tls: TlsMaterial;
  readonly transport: RaftTransport;
}

/** What a test says of its cluster. */
export interface TestClusterOptions<M extends StateMachine> {
  readonly peers: number;
  readonly shards: readonly ShardId[];
  /** The peer runs, but for this shard. */
  readonly openMachine: (directory: string, shard: ShardId, peer: TestPeer<M>) => Promise<M>;
  /** Leaves all of a peer's machines as a killed process would. */
  readonly killMachines: (peer: TestPeer<M>) => Promise<void>;
  readonly driver?: Partial<DriverOptions>;
  readonly wal?: Partial<WalOptions>;
}

/** Peers that a test starts, kills and cuts off from each other. */
export class TestCluster<M extends StateMachine> {
  readonly #options: TestClusterOptions<M>;
  readonly #directory: string;
  readonly #authority: KeyPair;
  readonly #tls = new Map<number, TlsMaterial>();
  readonly #addresses = new Map<number, string>();
  readonly #cuts = new Set<string>();
  readonly peers = new Map<number, TestPeer<M>>();
  readonly fatal: unknown[] = [];

  private constructor(options: TestClusterOptions<M>, directory: string, authority: KeyPair) {
    this.#options = options;
    this.#directory = directory;
    this.#authority = authority;
  }

  static async start<M extends StateMachine>(o: TestClusterOptions<M>): Promise<TestCluster<M>> {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-consensus-'));
    const authority = await createAuthority(CLUSTER_ID, Date.now());
    const cluster = new TestCluster(o, directory, authority);
    const all = Array.from({ length: o.peers }, (_, i) => i + 1);
    await Promise.all(all.map((node) => cluster.startPeer(node, all as NodeNumber[])));
    return cluster;
  }

  /** Starts a peer, new or after a kill. */
  async startPeer(node: number, members: readonly NodeNumber[] | 'join'): Promise<TestPeer<M>> {
    const directory = join(this.#directory, `${node}`);
    await mkdir(join(directory, 'raft'), { recursive: true });
    const tls = this.#tls.get(node) ?? (await certificateFor(this.#authority, node));
    this.#tls.set(node, tls);
    const port = Number(this.#addresses.get(node)?.split(':')[1] ?? 0);
    const common = { clusterId: CLUSTER_ID, isRevoked: () => false };
    const server = new RpcServer({ ...common, tls, host: '127.0.0.1', port });
    const inner = new GrpcRaftTransport({
      ...common,
      self: node as NodeNumber,
      tls: () => tls,
      addressOf: (peer) => this.#addresses.get(peer),
      peerOf: (call) => server.peerOf(call, ['node']),
    });
    inner.register(server.server);
    const bound = await server.listen();
    this.#addresses.set(node, `127.0.0.1:${bound.port}`);
    const transport = new BreakableTransport(inner, (from, to) => this.#cuts.has(`${from}-${to}`));
    const onFatal = (error: unknown) => this.fatal.push(error);
    const wal = await Wal.open({
      disk: join(directory, 'raft'),
      segmentBytes: 4 * 1024 * 1024,
      onFatal,
      ...this.#options.wal,
    });
    const driver = new ConsensusDriver({
      self: node as NodeNumber,
      wal,
      transport,
      spoolDirectory: join(directory, 'snapshots'),
      onFatal,
      tickMs: 20,
      ...this.#options.driver,
    });
    const machines = new Map<ShardId, M>();
    const peer = { node: node as NodeNumber, driver, wal, machines, server, tls, transport };
    this.peers.set(node, peer);
    for (const shard of this.#options.shards) {
      const machine = await this.#options.openMachine(directory, shard, peer);
      machines.set(shard, machine);
      await driver.openShard(shard, machine, members);
    }
    return peer;
  }

  /** Stops a peer as SIGKILL would: nothing is flushed, nobody is told. */
  async kill(node: number): Promise<void> {
    const peer = this.peers.get(node)!;
    this.peers.delete(node);
    const closing = peer.driver.close();
    await peer.transport.close();
    peer.server.server.forceShutdown();
    await peer.wal.abandon();
    await closing;
    await this.#options.killMachines(peer);
  }

  /** A certificate for someone who is no peer. */
  client(): Promise<TlsMaterial> {
    return certificateFor(this.#authority, 0, 'client');
  }

  /** Nothing passes between the two, either way. */
  cut(a: number, b: number): void {
    this.#cuts.add(`${a}-${b}`).add(`${b}-${a}`);
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** A peer that leads the shard and can commit. */
  async leader(shard: ShardId, among?: readonly number[]): Promise<TestPeer<M>> {
    return this.until(async () => {
      for (const peer of this.peers.values()) {
        if (among !== undefined && !among.includes(peer.node)) continue;
        if (!peer.driver.isLeader(shard)) continue;
        const isReady = await peer.driver.readBarrier(shard).then(
          () => true,
          () => false,
        );
        if (isReady) return peer;
      }
      return undefined;
    });
  }

  /** Waits for what must come. */
  async until<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
    for (;;) {
      if (this.fatal.length > 0) throw this.fatal[0];
      const seen = await look();
      if (seen !== undefined && seen !== false) return seen;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Throws what was fatal for a peer meanwhile. */
  async stop(): Promise<void> {
    for (const node of this.peers.keys()) await this.kill(node);
    await rm(this.#directory, { recursive: true });
    if (this.fatal.length > 0) throw this.fatal[0];
  }
}
