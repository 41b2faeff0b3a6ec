import { hostname, totalmem } from 'node:os';
import { join } from 'node:path';
import { ChunkReader, ChunkWriter } from '@holdfast/chunks';
import {
  type FileSystem,
  HoldfastError,
  type NodeNumber,
  type SessionId,
  type SessionNotice,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { BackupJobs } from './backup-jobs.ts';
import { SegmentCache } from './chunks/segment-cache.ts';
import { CertificateWatch } from './cluster/certificate-watch.ts';
import { Cluster } from './cluster/cluster.ts';
import { type ClientIdentity, loadIdentity } from './cluster/identity.ts';
import { ClusterFileSystem } from './file-system/cluster-file-system.ts';
import { addressOf, FileData } from './file-system/file-data.ts';
import { SnapshotNumbers } from './file-system/snapshots/snapshot-numbers.ts';
import { withSnapshots } from './file-system/snapshots/with-snapshots.ts';
import { Repositories } from './repositories.ts';
import { FileJournal, MemoryJournal } from './session/journal.ts';
import { Session } from './session/session.ts';
import { Snapshots } from './snapshots.ts';
import { Volumes } from './volumes.ts';

/** Milliseconds for which an answer about free space is good enough for statfs. */
const SPACE_VALID_MS = 5_000;

/** Options of {@link ClusterClient.connect}. */
export interface ClusterClientOptions {
  /** Directory written by `holdfast init` or `join`; or give `identity`. */
  readonly dataDirectory?: string;
  readonly identity?: ClientIdentity;
  /** More addresses (host:port) to try first. */
  readonly addresses?: readonly string[];
  /** Milliseconds that an operation waits for a quorum; 0: for ever. Default 30,000. */
  readonly operationWaitMs?: number;
  /**
   * Directory for what a successor needs that goes on with the same nodes: the journal of requests
   * in flight and the numbers of snapshots (best on tmpfs); in memory when absent.
   */
  readonly journalDirectory?: string;
  /**
   * Bytes of chunks kept in memory, beside what is read ahead: a part of the host's memory by default;
   * little for who reads everything once.
   */
  readonly cacheBytes?: number;
  /** Name under which the session is known; the host's name by default. */
  readonly host?: string;
  /** Told when the session was fenced and replaced. */
  readonly onExpired?: () => void;
}

/** Options of {@link ClusterClient.watchCertificate}. */
export interface CertificateOptions {
  /**
   * Gets a new certificate into the data directory by way of peers at these addresses (host:port of
   * gRPC). Called only on a host that is a client: a peer renews that of its own host.
   */
  readonly renew: (addresses: readonly string[]) => Promise<void>;
  readonly report: (event: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** Bytes of chunks that are kept in memory: a part of what the host has, within bounds. */
const CACHE_BYTES_MIN = 128 * 2 ** 20;
const CACHE_BYTES_MAX = 512 * 2 ** 20;
const CACHE_MEMORY_PART = 1 / 16;

/** A program's door to a cluster. */
export class ClusterClient {
  readonly cluster: Cluster;
  readonly volumes: Volumes;
  readonly snapshots: Snapshots;
  readonly repositories: Repositories;
  readonly jobs: BackupJobs;
  readonly #options: ClusterClientOptions;
  #session: Session | undefined;
  #fileSystem: ClusterFileSystem | undefined;
  #browsable: FileSystem | undefined;
  #certificate: CertificateWatch | undefined;
  #snapshots: SnapshotNumbers | undefined;

  private constructor(cluster: Cluster, options: ClusterClientOptions) {
    this.cluster = cluster;
    this.volumes = new Volumes(cluster);
    this.repositories = new Repositories(cluster);
    this.jobs = new BackupJobs(cluster);
    this.snapshots = new Snapshots({
      cluster,
      volumes: this.volumes,
      view: (volume, view, signal) => this.#beginSession().view(addressOf(volume), view, signal),
    });
    this.#options = options;
  }

  /** Connects; resolves once a peer has answered. Throws NOT_FOUND without an identity, UNREACHABLE when no peer answers in time. */
  static async connect(options: ClusterClientOptions): Promise<ClusterClient> {
    const client = await ClusterClient.create(options);
    await client.cluster.ready();
    return client;
  }

  /** Like {@link connect} but does not wait for any peer: operations will. */
  static async create(options: ClusterClientOptions): Promise<ClusterClient> {
    const loaded = options.identity ?? (await loadIdentity(requireDirectory(options)));
    const addresses = [...new Set([...(options.addresses ?? []), ...loaded.addresses])];
    let client: ClusterClient | undefined;
    const cluster = new Cluster({
      identity: { ...loaded, addresses },
      ...(options.operationWaitMs === undefined
        ? {}
        : { operationWaitMs: options.operationWaitMs }),
      onNotice: (method, header) => {
        if (client !== undefined) client.#notice(method, header);
      },
    });
    client = new ClusterClient(cluster, options);
    return client;
  }

  /** For processes that run for long: keeps the certificate in date until {@link close} or {@link abandon}. */
  watchCertificate({ renew, report }: CertificateOptions): void {
    const { tls, role } = this.cluster.identity;
    const dataDirectory = requireDirectory(this.#options);
    const renewHere = async (): Promise<void> => {
      await this.cluster.ready();
      const up = this.cluster.map.nodes.filter(({ state }) => state === 'up');
      await renew(up.map(({ grpcAddress }) => grpcAddress));
    };
    this.#certificate ??= new CertificateWatch({
      tls,
      read: async () => (await loadIdentity(dataDirectory)).tls,
      use: (fresh) => this.cluster.useCertificate(fresh),
      ...(role === 'node' ? {} : { renew: renewHere }),
      now: () => Date.now(),
      random: () => Math.random(),
      report,
    });
    void this.#certificate.look();
    this.#certificate.start();
  }

  /** The namespace; made at the first call, with a session of its own. */
  fileSystem(): FileSystem {
    this.#browsable ??= this.#makeFileSystem();
    return this.#browsable;
  }

  #beginSession(): Session {
    const { journalDirectory, host, onExpired } = this.#options;
    this.#session ??= new Session({
      cluster: this.cluster,
      journal:
        journalDirectory === undefined ? new MemoryJournal() : new FileJournal(journalDirectory),
      host: host ?? hostname(),
      onNotice: (_shard, notice) => this.#sessionNotice(notice),
      onExpired: () => {
        this.#fileSystem?.fenced();
        onExpired?.();
      },
      onRolledBack: async (volume) => this.#fileSystem?.rolledBack(volume),
      nowNs: wallClockNs,
    });
    return this.#session;
  }

  #makeFileSystem(): FileSystem {
    const session = this.#beginSession();
    const { cacheBytes = cacheBytesMax() } = this.#options;
    const chunks = {
      sink: new ChunkWriter(this.cluster),
      source: new SegmentCache(new ChunkReader(this.cluster), cacheBytes),
    };
    const isHeld = (volume: VolumeNumber): boolean => this.#fileSystem?.isHeld(volume) === true;
    this.#fileSystem = new ClusterFileSystem({
      session,
      volumes: this.volumes,
      data: new FileData({ ...chunks, session, isHeld }),
      clusterSpace: cachedFor(SPACE_VALID_MS, () => this.space()),
      close: () => this.close(),
    });
    const { journalDirectory } = this.#options;
    this.#snapshots = new SnapshotNumbers(journalDirectory && join(journalDirectory, 'snapshots'));
    return withSnapshots({
      live: this.#fileSystem,
      session,
      volumes: this.volumes,
      numbers: this.#snapshots,
      ...chunks,
      nowMs: () => performance.now(),
    });
  }

  /** Bytes that files may use on the present peers when kept in three copies (or as many as there are peers). */
  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    await this.cluster.ready();
    const nodes = this.cluster.map.nodes.filter((node) => node.state === 'up');
    const spaces = await Promise.allSettled(nodes.map((node) => this.#spaceOf(node.number)));
    const known = spaces
      .filter((result) => result.status === 'fulfilled')
      .map((result) => result.value);
    const copies = Math.max(1, Math.min(3, nodes.length));
    const sum = (pick: (space: Space) => number): number =>
      Math.floor(known.reduce((total, space) => total + pick(space), 0) / copies);
    return {
      totalBytes: sum((space) => space.totalBytes),
      freeBytes: sum((space) => space.freeBytes),
    };
  }

  async #spaceOf(node: NodeNumber): Promise<Space> {
    const connection = this.cluster.connections.to(node, 'meta');
    if (connection === undefined) throw new HoldfastError('UNREACHABLE');
    return (await connection.call<Space>('chunk.space', {}, { deadlineMs: 2_000 })).header;
  }

  #notice(method: string, header: unknown): void {
    if (method !== 'session.notice') return;
    this.#session?.notice(header as { shard: ShardId; session: SessionId; notice: SessionNotice });
  }

  #sessionNotice(notice: SessionNotice): void {
    if (notice.notice === 'recall') this.#fileSystem?.recalled(notice.volume);
    if (notice.notice === 'orphans') this.#fileSystem?.orphansAnnounced(notice.volume, notice.inos);
  }

  /** Ends the session and every connection. */
  async close(): Promise<void> {
    this.#certificate?.close();
    await this.#session?.close();
    this.#snapshots?.close();
    await this.cluster.close();
  }

  /** Ends the connections but leaves the session to whoever continues its journal. */
  async abandon(): Promise<void> {
    this.#certificate?.close();
    this.#session?.abandon();
    this.#snapshots?.close();
    await this.cluster.close();
  }
}

interface Space {
  readonly totalBytes: number;
  readonly freeBytes: number;
}

function cacheBytesMax(): number {
  const part = Math.floor(totalmem() * CACHE_MEMORY_PART);
  return Math.min(CACHE_BYTES_MAX, Math.max(CACHE_BYTES_MIN, part));
}

function requireDirectory(options: ClusterClientOptions): string {
  if (options.dataDirectory !== undefined) return options.dataDirectory;
  throw new HoldfastError('BAD_REQUEST', 'give a data directory or an identity');
}

/** Milliseconds by which the fine clock may differ from the wall clock before it is set again. */
const CLOCK_SLACK_MS = 2;
let clockOriginMs = performance.timeOrigin;

/** The wall clock in nanoseconds, with the microseconds that Node can tell; follows steps of the wall clock. */
function wallClockNs(): bigint {
  const fineMs = clockOriginMs + performance.now();
  const wallMs = Date.now();
  if (Math.abs(fineMs - wallMs) > CLOCK_SLACK_MS) {
    clockOriginMs += wallMs - fineMs;
    return BigInt(wallMs) * 1_000_000n;
  }
  return BigInt(Math.round(fineMs * 1_000)) * 1_000n;
}

function cachedFor<T>(validMs: number, ask: () => Promise<T>): () => Promise<T> {
  let until = 0;
  let answer: Promise<T> | undefined;
  return () => {
    if (answer === undefined || performance.now() > until) {
      until = performance.now() + validMs;
      answer = ask().catch((error: unknown) => {
        answer = undefined;
        throw error;
      });
    }
    return answer;
  };
}
