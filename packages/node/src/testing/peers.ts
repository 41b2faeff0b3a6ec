/** Peers in this process, on loopback, for tests. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../config.ts';
import { type RunningNode, startNode } from '../daemon.ts';
import { type InitResult, initCluster } from '../membership/bootstrap.ts';
import { type JoinResult, joinCluster } from '../membership/join.ts';

/** The address of all test peers. */
export const LOOPBACK = '127.0.0.1';

/** A first port of five that are free now; high enough to be out of the way of ephemeral ones. */
export async function freePorts(): Promise<number> {
  for (;;) {
    const base = 10_000 + Math.floor(Math.random() * 4_000) * 5;
    const free = await Promise.all([0, 1, 2, 3, 4].map((offset) => isFree(base + offset)));
    if (free.every(Boolean)) return base;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: LOOPBACK, port, exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });
}

/** A cluster that a test makes and takes down. */
export class TestCluster {
  readonly root: string;
  readonly made: InitResult;
  readonly running = new Map<string, RunningNode>();

  private constructor(root: string, made: InitResult) {
    this.root = root;
    this.made = made;
  }

  /** One peer, 'n1', that runs. */
  static async begin(flags: Readonly<Record<string, unknown>> = {}): Promise<TestCluster> {
    const root = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    const dataDirectory = join(root, 'n1');
    const made = await initCluster({
      dataDirectory,
      name: 'n1',
      address: LOOPBACK,
      port: await freePorts(),
    });
    const cluster = new TestCluster(root, made);
    await cluster.start('n1', flags);
    return cluster;
  }

  data(name: string): string {
    return join(this.root, name);
  }

  node(name: string): RunningNode {
    const node = this.running.get(name);
    if (node === undefined) throw new RangeError(`${name} does not run`);
    return node;
  }

  async start(name: string, flags: Readonly<Record<string, unknown>> = {}): Promise<RunningNode> {
    const defaults = {
      data: this.data(name),
      bind: LOOPBACK,
      'log-level': 'silent',
      discovery: false,
    };
    const node = await startNode(loadConfig({ flags: { ...defaults, ...flags } }));
    this.running.set(name, node);
    return node;
  }

  async join(
    name: string,
    o: {
      token?: string;
      role?: 'node' | 'client' | 'admin';
      directory?: string;
      peer?: string;
    } = {},
  ): Promise<JoinResult> {
    return joinCluster({
      dataDirectory: o.directory ?? this.data(name),
      token: o.token ?? this.made.tokens.node,
      peer: o.peer ?? this.made.grpcAddress,
      name,
      address: LOOPBACK,
      port: await freePorts(),
      role: o.role ?? 'node',
      waitMs: 2_000,
    });
  }

  async stop(name: string): Promise<void> {
    await this.running.get(name)?.close();
    this.running.delete(name);
  }

  async close(): Promise<void> {
    await Promise.all([...this.running.values()].map((node) => node.close()));
    await rm(this.root, { recursive: true, force: true });
  }
}

/** Resolves when the condition holds; rejects with what it was waiting for after half a minute. */
export async function eventually(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
