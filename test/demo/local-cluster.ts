/** A cluster of real processes on this machine, in a temporary place: for the demo, the benchmark and tests. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const LAUNCHER = fileURLToPath(new URL('../../bin/holdfast', import.meta.url));
const run = promisify(execFile);
/** Milliseconds for a peer to answer, or a mount to appear, on a busy machine. */
const READY_MS_MAX = 60_000;
const PORTS_PER_PEER = 5;
/** Milliseconds for a process to end by itself: it promises to within 20 s. */
const STOP_MS_MAX = 45_000;
/** Milliseconds between two questions whether something holds. */
const POLL_MS = 50;
const POLL_MS_MAX = 500;

export interface LocalClusterOptions {
  readonly peers: number;
  /** Told what is going on, a line each. */
  readonly report?: (line: string) => void;
  /** Parent of the temporary directory; /var/tmp by default since /tmp may be memory. */
  readonly parent?: string;
  /** Whether each peer gets a mount; true by default. */
  readonly mounts?: boolean;
  /** Whether peers find each other by kad-dht as well, which takes time to start; false by default. */
  readonly discovery?: boolean;
}

/** One peer: its data directory, its processes and its mount. */
export class LocalPeer {
  readonly name: string;
  readonly dataDirectory: string;
  readonly mountPath: string;
  readonly port: number;
  readonly #logPath: string;
  readonly #discovery: boolean;
  #node: ChildProcess | undefined;
  #mount: ChildProcess | undefined;

  constructor(root: string, index: number, o: { port: number; discovery: boolean }) {
    this.name = `h${index}`;
    this.port = o.port;
    this.#discovery = o.discovery;
    this.dataDirectory = join(root, this.name, 'data');
    this.mountPath = join(root, this.name, 'mnt');
    this.#logPath = join(root, this.name);
    mkdirSync(this.dataDirectory, { recursive: true });
    mkdirSync(this.mountPath, { recursive: true });
  }

  /** Runs a holdfast command on this peer; resolves with its standard output. */
  async holdfast(...args: readonly string[]): Promise<string> {
    try {
      const { stdout } = await run(LAUNCHER, ['--data', this.dataDirectory, ...args]);
      return stdout;
    } catch (error) {
      const { stderr } = error as { stderr?: string };
      throw new Error(`holdfast ${args.join(' ')} on ${this.name}: ${stderr ?? String(error)}`, {
        cause: error,
      });
    }
  }

  /** Starts the storage peer, with variables of its own such as HOLDFAST_PORT. */
  startNode(environment: Readonly<Record<string, string>> = {}): void {
    const discovery = this.#discovery ? {} : { HOLDFAST_DISCOVERY: 'false' };
    this.#node = this.#spawn('node', ['node'], { ...discovery, ...environment });
  }

  /** Process id of the storage peer. */
  get nodePid(): number | undefined {
    return this.#node?.pid;
  }

  /** kill -9 of the storage peer; resolves when it is gone. */
  async killNode(): Promise<void> {
    await end(this.#node, 'SIGKILL');
    this.#node = undefined;
  }

  /** Starts keeper and mount daemon, with options of its own; resolves when the namespace shows. */
  async startMount(...options: readonly string[]): Promise<void> {
    const child = this.#spawn('mount', ['mount', this.mountPath, '--foreground', ...options]);
    this.#mount = child;
    await until(`the mount of ${this.name}`, () => {
      if (child.exitCode !== null)
        throw new Error(`mounting on ${this.name} failed:\n${this.log('mount')}`);
      return isMounted(this.mountPath);
    });
  }

  /** Process id of the mount daemon that serves now. */
  async mountDaemonPid(): Promise<number> {
    const path = join(mountState(this.mountPath), 'daemon.pid');
    let pid = 0;
    await until('the mount daemon', () => {
      pid = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
      return pid > 0 && existsSync(`/proc/${pid}`);
    });
    return pid;
  }

  /** Stops mount and peer in order. */
  async stop(): Promise<void> {
    await this.stopMount();
    await this.stopNode();
  }

  /** Unmounts. */
  async stopMount(): Promise<void> {
    await end(this.#mount, 'SIGTERM');
    this.#mount = undefined;
  }

  /** Stops the storage peer in order. */
  async stopNode(): Promise<void> {
    await end(this.#node, 'SIGTERM');
    this.#node = undefined;
  }

  /** Resolves when the peer says that it is ready. */
  async ready(): Promise<void> {
    await until(`peer ${this.name}`, async () => {
      if (this.#node?.exitCode != null)
        throw new Error(`peer ${this.name} ended:\n${this.log('node')}`);
      return this.isReady();
    });
  }

  async isReady(): Promise<boolean> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port + 4}/readyz`, {
        signal: AbortSignal.timeout(2_000),
      });
      return response.ok;
    } catch {
      return false;
    }
  }

  /** Sum of the samples of a metric of the peer; 0 when there are none. */
  async metric(name: string): Promise<number> {
    const text = await new Promise<string>((resolve, reject) => {
      const socketPath = join(this.dataDirectory, 'admin.sock');
      get({ socketPath, path: '/metrics' }, (response) => {
        response.setEncoding('utf8');
        response.toArray().then((parts) => resolve(parts.join('')), reject);
      }).on('error', reject);
    });
    const samples = text.split('\n').filter((line) => /^[^{ ]*/.exec(line)?.[0] === name);
    return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  /** The last lines of a part's log. */
  log(part: 'node' | 'mount'): string {
    const path = join(this.#logPath, `${part}.log`);
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(-30).join('\n') : '';
  }

  #spawn(part: string, args: readonly string[], environment = {}): ChildProcess {
    const child = spawn(LAUNCHER, ['--data', this.dataDirectory, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    const log = createWriteStream(join(this.#logPath, `${part}.log`), { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.on('close', () => log.end());
    return child;
  }
}

/** The whole cluster. */
export class LocalCluster {
  readonly root: string;
  readonly peers: LocalPeer[] = [];
  token = '';
  readonly #report: (line: string) => void;
  readonly #mounts: boolean;
  readonly #discovery: boolean;

  constructor(root: string, options: LocalClusterOptions) {
    this.root = root;
    this.#discovery = options.discovery ?? false;
    this.#report = options.report ?? (() => {});
    this.#mounts = options.mounts ?? true;
  }

  /** Adds one more peer (the first begins the cluster) and waits until it is ready. */
  async addPeer(): Promise<LocalPeer> {
    const peer = await this.#enroll();
    await this.#start(peer);
    return peer;
  }

  /** Adds peers up to this number: they join in turn, which numbers them, and start at once. */
  async grow(peers: number): Promise<void> {
    if (this.peers.length === 0 && peers > 0) await this.addPeer();
    const others: LocalPeer[] = [];
    while (this.peers.length < peers) others.push(await this.#enroll());
    const starts = others.map((peer) => this.#start(peer));
    // When one fails, the others are closed as well: not while they are on their way.
    await Promise.allSettled(starts);
    await Promise.all(starts);
  }

  /** Makes a peer a member. */
  async #enroll(): Promise<LocalPeer> {
    const port = await freePorts();
    const options = { port, discovery: this.#discovery };
    const peer = new LocalPeer(this.root, this.peers.length + 1, options);
    const where = ['--name', peer.name, '--address', '127.0.0.1', '--port', String(peer.port)];
    const first = this.peers[0];
    if (first === undefined) {
      const made = JSON.parse(await peer.holdfast('--json', 'init', ...where)) as {
        tokens: { node: string };
      };
      this.token = made.tokens.node;
    } else {
      await peer.holdfast('join', this.token, '--peer', `127.0.0.1:${first.port}`, ...where);
    }
    this.peers.push(peer);
    return peer;
  }

  async #start(peer: LocalPeer): Promise<void> {
    peer.startNode();
    await peer.ready();
    this.#report(
      `peer ${peer.name} runs (ports ${peer.port} to ${peer.port + PORTS_PER_PEER - 1}, data in ${peer.dataDirectory})`,
    );
    if (!this.#mounts) return;
    await peer.startMount();
    this.#report(`mount of ${peer.name}: ${peer.mountPath}`);
  }

  /** The peer with this index, counted from 0. */
  peer(index: number): LocalPeer {
    const peer = this.peers[index];
    if (peer === undefined) throw new Error(`no peer ${index}`);
    return peer;
  }

  /** Makes a volume and answers its path on a peer's mount. */
  async volume(name: string, peer = 0): Promise<string> {
    await this.peer(0).holdfast('volume', 'create', name);
    return join(this.peer(peer).mountPath, name);
  }

  /** Whether every peer is up and every copy in its place. */
  async settled(): Promise<boolean> {
    const text = await this.peer(this.peers.length - 1).holdfast('--json', 'status');
    const status = JSON.parse(text) as { health: string; partitions: { moving: number } };
    return status.health === 'ok' && status.partitions.moving === 0;
  }

  /** Sum of a metric over all peers. */
  async metric(name: string): Promise<number> {
    const values = await Promise.all(this.peers.map((peer) => peer.metric(name)));
    return values.reduce((sum, value) => sum + value, 0);
  }

  /** The peer that leads a volume's metadata. */
  async leaderOf(volume: string): Promise<LocalPeer> {
    const text = await this.peer(0).holdfast('--json', 'volume', 'ls');
    const volumes = JSON.parse(text) as { name: string; shard: number }[];
    return this.leaderOfShard(volumes.find(({ name }) => name === volume)?.shard ?? -1);
  }

  /** The peer that leads a shard, once there is one; 0 is that of the cluster itself. */
  async leaderOfShard(shard: number): Promise<LocalPeer> {
    let leader = 0;
    await until(`a leader of shard ${shard}`, async () => {
      const text = await this.peer(0).holdfast('--json', 'status');
      const { shards } = JSON.parse(text) as { shards: { shard: number; leader: number }[] };
      leader = shards.find((other) => other.shard === shard)?.leader ?? 0;
      return leader > 0;
    });
    return this.peer(leader - 1);
  }

  /** Stops every process, unmounts, removes the temporary place. */
  async close(): Promise<void> {
    // Mounts first, while there is a quorum to end their sessions with.
    await Promise.all(this.peers.map((peer) => peer.stopMount()));
    await Promise.all(this.peers.map((peer) => peer.stopNode()));
    for (const peer of this.peers) {
      if (isMounted(peer.mountPath)) await run('umount', ['-l', peer.mountPath]);
    }
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Starts a cluster of peers on 127.0.0.1. */
export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const root = mkdtempSync(join(options.parent ?? '/var/tmp', 'holdfast-'));
  chmodSync(root, 0o755); // other users may use the mounts
  const cluster = new LocalCluster(root, options);
  try {
    await cluster.grow(options.peers);
    return cluster;
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

/** Where keeper and daemon of a mount keep their state. */
function mountState(path: string): string {
  return join('/run/holdfast/mounts', path.slice(1).replaceAll(/[^A-Za-z0-9.-]/g, '_'));
}

/** Whether a FUSE file system is mounted at a path. */
function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === path && (line.split(' ')[2] ?? '').startsWith('fuse'));
}

/** Polls a condition of another process until it holds; fails after a minute, naming it. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  limitMs = READY_MS_MAX,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const askedMs = performance.now();
    if (await holds()) return;
    const nowMs = performance.now();
    if (nowMs > deadline) throw new Error(`${what}: not within ${limitMs / 1000} s`);
    // As long as the question took: those that start a command would keep a core busy.
    const pauseMs = Math.min(Math.max(POLL_MS, nowMs - askedMs), POLL_MS_MAX);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    const late = setTimeout(() => {
      process.stderr.write(`process ${child.pid} ignores ${signal}: ${whereItIs(child.pid)}\n`);
      child.kill('SIGKILL');
    }, STOP_MS_MAX);
    child.once('exit', () => {
      clearTimeout(late);
      resolve();
    });
    child.kill(signal);
  });
}

/** What the kernel says of a process that does not end. */
function whereItIs(pid: number | undefined): string {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads
      .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/stack`, 'utf8').split('\n')[0])
      .join('; ');
  } catch (error) {
    return String(error);
  }
}

/** Test files that run at the same time take their ports from ranges of their own. */
const PORTS_FROM = 20_000 + (Number(process.env['VITEST_POOL_ID'] ?? 0) % 4) * 2_500;
const PORT_GROUPS = 2_500 / PORTS_PER_PEER;
/** Which group of ports comes next: none is given twice, as its peer may be dead just now. */
let portGroup = Math.floor(Math.random() * PORT_GROUPS);

/** First of PORTS_PER_PEER consecutive ports that nobody listens on now. */
export async function freePorts(): Promise<number> {
  for (let attempt = 0; attempt < PORT_GROUPS; attempt++) {
    const base = PORTS_FROM + (portGroup++ % PORT_GROUPS) * PORTS_PER_PEER;
    const ports = Array.from({ length: PORTS_PER_PEER }, (_, i) => isFree(base + i));
    if ((await Promise.all(ports)).every(Boolean)) return base;
  }
  throw new Error(`no free ports from ${PORTS_FROM} to ${PORTS_FROM + 2_499}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
