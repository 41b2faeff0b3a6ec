import type { NodeNumber } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority, type KeyPair } from '../membership/certificates.ts';
import { RpcServer } from '../rpc/server.ts';
import type { GroupMessage } from './raft-codec.ts';
import { CLUSTER_ID, certificateFor } from './testing/cluster.ts';
import { GrpcRaftTransport } from './transport.ts';

let authority: KeyPair;
const addresses = new Map<number, string>();
const revoked = new Set<string>();
const running: { transport: GrpcRaftTransport; server: RpcServer }[] = [];

beforeAll(async () => {
  authority = await createAuthority(CLUSTER_ID, Date.now());
});

afterEach(async () => {
  for (const { transport, server } of running.splice(0)) {
    await transport.close();
    server.server.forceShutdown();
  }
  addresses.clear();
  revoked.clear();
});

type SnapshotTaker = (stream: AsyncIterable<Uint8Array>) => Promise<void>;

async function startPeer(
  node: number,
  o: { tls?: TlsMaterial; takeSnapshot?: SnapshotTaker; port?: number } = {},
) {
  const tls = o.tls ?? (await certificateFor(authority, node));
  const isRevoked = (serial: string) => revoked.has(serial);
  const common = { clusterId: CLUSTER_ID, isRevoked };
  const server = new RpcServer({ ...common, tls, host: '127.0.0.1', port: o.port ?? 0 });
  const transport = new GrpcRaftTransport({
    ...common,
    self: node as NodeNumber,
    tls: () => tls,
    addressOf: (peer) => addresses.get(peer),
    peerOf: (call) => server.peerOf(call, ['node']),
  });
  transport.register(server.server);
  const { port } = await server.listen();
  addresses.set(node, `127.0.0.1:${port}`);
  running.push({ transport, server });
  const received: GroupMessage[] = [];
  const deliveries: number[] = [];
  const unreachable: number[] = [];
  transport.start({
    messages: (_from, messages) => {
      received.push(...messages);
      deliveries.push(messages.length);
    },
    unreachable: (peer) => unreachable.push(peer),
    snapshot: (_begin, stream) => o.takeSnapshot?.(stream) ?? Promise.resolve(),
  });
  return { transport, server, received, deliveries, unreachable, port };
}

function heartbeat(from: number, to: number, round = 1, group = 1): GroupMessage {
  return { group, message: { kind: 'heartbeat', from, to, term: 1, commit: 0, round } };
}

async function until(look: () => boolean): Promise<void> {
  while (!look()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Sends until something arrives: the first messages are lost while the stream opens. */
async function connect(
  from: Awaited<ReturnType<typeof startPeer>>,
  to: Awaited<ReturnType<typeof startPeer>>,
  [a, b]: readonly [number, number],
): Promise<void> {
  await until(() => {
    if (to.received.length === 0) from.transport.send(heartbeat(a, b));
    return to.received.length > 0;
  });
}

describe('raft over gRPC', () => {
  it('carries all groups of a pair of peers both ways, a turn in one frame', async () => {
    const [one, two] = [await startPeer(1), await startPeer(2)];
    await connect(one, two, [1, 2]);
    two.deliveries.length = 0;
    for (let group = 1; group <= 200; group += 1) {
      one.transport.send(heartbeat(1, 2, 7, group));
    }
    await until(() => two.deliveries.includes(200));
    two.transport.send(heartbeat(2, 1, 9));
    await until(() => one.received.length > 0);
    expect(one.received.at(-1)).toEqual(heartbeat(2, 1, 9));
  });

  it('drops what a peer says in the name of another, or to another', async () => {
    const [one, two] = [await startPeer(1), await startPeer(2)];
    await connect(one, two, [1, 2]);
    one.transport.send(heartbeat(3, 2, 666));
    one.transport.send(heartbeat(1, 2, 8));
    await until(() =>
      two.received.some(({ message }) => 'round' in message && message.round === 8),
    );
    expect(two.received.every(({ message }) => message.from === 1)).toBe(true);
  });

  it('takes nothing from a client, another cluster or a revoked peer', async () => {
    const two = await startPeer(2);
    const foreign = await createAuthority('ffeeddccbbaa99887766554433221100', Date.now());
    const impostors = [
      await certificateFor(authority, 1, 'client'),
      await certificateFor(foreign, 1, 'node', 'ffeeddccbbaa99887766554433221100'),
      await certificateFor(authority, 1, 'node', 'ffeeddccbbaa99887766554433221100'),
    ];
    for (const tls of impostors) {
      const impostor = await startPeer(1, { tls });
      impostor.transport.send(heartbeat(1, 2, 1));
      await until(() => impostor.unreachable.includes(2));
    }
    expect(two.received).toEqual([]);
  });

  it('does not take one peer for another that has its address now', async () => {
    const [one, two] = [await startPeer(1), await startPeer(2)];
    addresses.set(3, addresses.get(2)!);
    one.transport.send(heartbeat(1, 3));
    await until(() => one.unreachable.includes(3));
    expect(two.received).toEqual([]);
  });

  it('finds a peer again that was restarted', async () => {
    const [one, two] = [await startPeer(1), await startPeer(2)];
    await connect(one, two, [1, 2]);
    await two.transport.close();
    two.server.server.forceShutdown();
    await until(() => one.unreachable.includes(2));
    const again = await startPeer(2, { port: two.port });
    await connect(one, again, [1, 2]);
  });
});

const META = {
  index: 9,
  term: 3,
  membership: { voters: [1, 2], votersOutgoing: [], learners: [], learnersNext: [] },
};
const BEGIN: GroupMessage = {
  group: 1,
  message: { kind: 'installSnapshot', from: 1, to: 2, term: 3, snapshot: META },
};
const PIECE = Buffer.alloc(1024 * 1024, 'x');

describe('snapshots over gRPC', () => {
  it('arrive whole, in parts of 256 KiB at most, no faster than they are taken', async () => {
    let produced = 0;
    let aheadMax = 0;
    let taken = 0;
    const parts: number[] = [];
    const one = await startPeer(1);
    await startPeer(2, {
      takeSnapshot: async (stream) => {
        for await (const part of stream) {
          taken += part.length;
          parts.push(part.length);
          aheadMax = Math.max(aheadMax, produced - taken);
          // A slow disk: other work of the event loop comes in between.
          await new Promise((resolve) => setImmediate(resolve));
        }
      },
    });
    async function* pieces() {
      for (let i = 0; i < 32; i += 1) {
        produced += PIECE.length;
        yield PIECE;
      }
    }
    await one.transport.sendSnapshot(BEGIN, pieces(), new AbortController().signal);
    expect(taken).toBe(32 * PIECE.length);
    expect(Math.max(...parts)).toBe(256 * 1024);
    expect(aheadMax).toBeLessThan(8 * PIECE.length);
  });

  it('that break off are noticed at both ends', async () => {
    let seen: unknown;
    let hasBegun = false;
    const one = await startPeer(1);
    await startPeer(2, {
      takeSnapshot: async (stream) => {
        try {
          for await (const _ of stream) hasBegun = true;
        } catch (error) {
          seen = error;
          throw error;
        }
      },
    });
    async function* pieces() {
      yield PIECE;
      await until(() => hasBegun);
      throw new RangeError('the disk broke');
    }
    const sending = one.transport.sendSnapshot(BEGIN, pieces(), new AbortController().signal);
    await expect(sending).rejects.toThrow('the disk broke');
    await until(() => seen !== undefined);
  });

  it('end when the receiver refuses, or the sender stops', async () => {
    const one = await startPeer(1);
    await startPeer(2, { takeSnapshot: () => Promise.reject(new RangeError('no')) });
    async function* endless() {
      for (;;) yield PIECE;
    }
    const refused = one.transport.sendSnapshot(BEGIN, endless(), new AbortController().signal);
    await expect(refused).rejects.toMatchObject({ code: 'UNREACHABLE' });
    const stop = new AbortController();
    await startPeer(3, {
      takeSnapshot: async (stream) => {
        for await (const _ of stream) stop.abort();
      },
    });
    const begin = { ...BEGIN, message: { ...BEGIN.message, to: 3 } };
    const stopped = one.transport.sendSnapshot(begin as GroupMessage, endless(), stop.signal);
    await expect(stopped).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});
