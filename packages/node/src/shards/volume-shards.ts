/** The volume shards of this peer: their state, their services, and the calls that reach them. */
import {
  type ChunkId,
  type Command,
  type CommandResult,
  HoldfastError,
  INTERNAL_SESSION,
  isSessionId,
  type Operation,
  type OperationAnswer,
  type SessionId,
  type ShardId,
  type View,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { WireRequest, WireServer } from '@holdfast/wire';
import { z } from 'zod';
import type { ShardHost, StateMachine } from '../consensus/shard-host.ts';
import { LevelState } from './level-state.ts';
import { LevelStore, type LevelStoreOptions } from './level-store.ts';
import { VolumeShard } from './shard.ts';
import { type ViewCall, VolumeService, type VolumeServiceOptions } from './volume-service.ts';

/** Options of {@link VolumeShards}. */
export interface VolumeShardsOptions extends Omit<VolumeServiceOptions, 'host'> {
  readonly host: ShardHost;
  /** Deletes chunks on all their replicas; answers those that are gone from every one. */
  readonly deleteChunks: (chunks: readonly ChunkId[]) => Promise<readonly ChunkId[]>;
}

const SHARD = z.number().int().min(1).max(65_534);
const SESSION = z.string().refine(isSessionId);
// What is inside a command or a view is checked by the state machine, the same on every replica.
const EXECUTE = z.object({ shard: SHARD, command: z.looseObject({ session: SESSION }) });
const VIEW = z.object({
  shard: SHARD,
  session: SESSION,
  volume: z.number().int().min(0),
  view: z.looseObject({ view: z.string() }),
});
const KEEPALIVE = z.object({ shard: SHARD, session: SESSION });

/** Operations that only the registry orders, by a way of its own. */
const OF_REGISTRY: ReadonlySet<string> = new Set([
  'init-volume',
  'clone-volume',
  'clone-from-afar',
  'hold-snapshot',
  'let-go',
  'adopt-base-records',
  'bar-chunks',
  'rollback-volume',
  'destroy-volume',
  'set-quota',
]);

interface OpenShard {
  readonly machine: VolumeShard;
  readonly service: VolumeService;
}

/** All volume shards of a peer over one store. */
export class VolumeShards {
  readonly #store: LevelStore;
  readonly #options: VolumeShardsOptions;
  readonly #open = new Map<ShardId, OpenShard>();
  readonly #stopListening: () => void;

  private constructor(store: LevelStore, options: VolumeShardsOptions) {
    this.#store = store;
    this.#options = options;
    this.#stopListening = options.host.onLeader((change) => {
      this.#open.get(change.shard)?.service.leaderChanged(change);
    });
  }

  /** Opens the store at `path`. Throws CORRUPT. */
  static async open(
    path: string,
    options: VolumeShardsOptions & LevelStoreOptions,
  ): Promise<VolumeShards> {
    return new VolumeShards(await LevelStore.open(path, options), options);
  }

  /** The state machine of a shard, for ShardHost.openShard. */
  async openShard(shard: ShardId): Promise<StateMachine> {
    const machine = new VolumeShard(await LevelState.open(this.#store, shard));
    this.#open.set(shard, { machine, service: new VolumeService(machine, this.#options) });
    return machine;
  }

  /** Closes a shard whose replica is closed already. */
  async closeShard(shard: ShardId): Promise<void> {
    await this.#open.get(shard)?.service.close();
    this.#open.delete(shard);
    await this.#store.closeShard(shard);
  }

  /** Deletes the state of a closed shard. */
  async removeShard(shard: ShardId): Promise<void> {
    await this.#store.removeShard(shard);
  }

  /** Registers the calls of clients. */
  register(server: WireServer): void {
    server.handle('meta.execute', ['client', 'node', 'admin'], (request) => this.#execute(request));
    server.handle('meta.view', ['client', 'node', 'admin'], (request) => this.#view(request));
    server.handle('meta.keepalive', ['client', 'node', 'admin'], (request) =>
      this.#keepalive(request),
    );
  }

  /** Sessions with a lease, of each shard; 0 where this peer does not lead. */
  *sessions(): Generator<readonly [ShardId, number]> {
    for (const [shard, { service }] of this.#open) yield [shard, service.leases.count];
  }

  /** The service of a shard; throws NOT_LEADER with who leads. */
  service(shard: ShardId): VolumeService {
    const { host } = this.#options;
    const open = this.#open.get(shard);
    if (open !== undefined && host.isLeader(shard)) return open.service;
    throw new HoldfastError('NOT_LEADER', undefined, { detail: { leader: host.leaderOf(shard) } });
  }

  /**
   * Runs an operation of the cluster's own in a shard that this peer leads; a delegation in its way
   * is recalled first. Throws the shard's refusal, NOT_LEADER, or an outage.
   */
  async run(
    {
      shard,
      volume,
      operation,
      timeNs,
    }: { shard: ShardId; volume: VolumeNumber; operation: Operation; timeNs?: bigint },
    signal?: AbortSignal,
  ): Promise<OperationAnswer> {
    return this.service(shard).run(volume, operation, { timeNs, signal });
  }

  /** A look of the cluster's own, whoever holds the volume. Throws the view's refusals, NOT_LEADER, or an outage. */
  async look(
    { shard, volume, view }: { shard: ShardId; volume: VolumeNumber; view: View },
    signal?: AbortSignal,
  ): Promise<unknown> {
    return this.service(shard).view({ session: INTERNAL_SESSION, volume, view }, signal);
  }

  async #execute(request: WireRequest): Promise<{ header: CommandResult }> {
    const { shard, command } = parsed(EXECUTE, request);
    const { session, operation } = command as unknown as Command;
    const op = String((operation as { op?: unknown } | null | undefined)?.op);
    if (session === INTERNAL_SESSION || OF_REGISTRY.has(op)) {
      throw new HoldfastError('FORBIDDEN', 'this is done by the cluster itself only');
    }
    const service = this.service(shard as ShardId);
    return { header: await service.execute(command as unknown as Command, request.signal) };
  }

  async #view(request: WireRequest): Promise<{ header: unknown }> {
    const { shard, ...call } = parsed(VIEW, request);
    if (call.session === INTERNAL_SESSION) throw new HoldfastError('FORBIDDEN');
    const service = this.service(shard as ShardId);
    return { header: await service.view(call as unknown as ViewCall, request.signal) };
  }

  async #keepalive(request: WireRequest): Promise<{ header: { leaseMs: number } }> {
    const { shard, session } = parsed(KEEPALIVE, request);
    const service = this.service(shard as ShardId);
    const { connection } = request;
    const answer = await service.keepalive(session as SessionId, connection);
    this.#bound(connection);
    return { header: answer };
  }

  readonly #connections = new WeakSet<WireRequest['connection']>();

  #bound(connection: WireRequest['connection']): void {
    if (this.#connections.has(connection)) return;
    this.#connections.add(connection);
    connection.onClose(() => {
      for (const { service } of this.#open.values()) service.leases.left(connection);
    });
  }

  /** Closes all; their replicas are closed already. */
  async close(): Promise<void> {
    await this.#stop();
    await this.#store.close();
  }

  /** Closes as a killed process would. */
  async abandon(): Promise<void> {
    await this.#stop();
    await this.#store.abandon();
  }

  async #stop(): Promise<void> {
    this.#stopListening();
    for (const { service } of this.#open.values()) await service.close();
  }
}

function parsed<T>(schema: z.ZodType<T>, { method, header }: WireRequest): T {
  const result = schema.safeParse(header);
  if (result.success) return result.data;
  throw new HoldfastError('BAD_REQUEST', `${method}: ${z.prettifyError(result.error)}`);
}
