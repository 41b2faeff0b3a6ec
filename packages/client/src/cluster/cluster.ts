import { BoundedWait } from '@holdfast/chunks';
import {
  type ClusterMap,
  HoldfastError,
  LIMITS,
  type NodeNumber,
  type ShardId,
} from '@holdfast/protocol';
import type { TlsMaterial, WireClient } from '@holdfast/wire';
import { Connections } from './connections.ts';
import type { ClientIdentity } from './identity.ts';

/** Milliseconds for one try, so that a silent peer costs a fraction of the bounded wait. */
const TRY_MS_MAX = 8_000;
const CONNECT_MS_MAX = 2_000;

/** Options of {@link Cluster}. */
export interface ClusterOptions {
  readonly identity: ClientIdentity;
  /** Milliseconds that an operation waits for a quorum; 0: for ever. Default 30,000 (P4). */
  readonly operationWaitMs?: number;
  readonly onNotice?: (method: string, header: unknown) => void;
}

/** How one call to a shard went before it was answered. */
export interface CallOutcome<T> {
  readonly header: T;
  /** Some earlier try may have reached the shard: its effect is unknown but for exactly-once. */
  readonly retried: boolean;
}

/** The cluster as a client sees it: a map, connections, and who leads which shard. */
export class Cluster {
  readonly identity: ClientIdentity;
  readonly connections: Connections;
  readonly operationWaitMs: number;
  #map: ClusterMap | undefined;
  #refreshing: Promise<void> | undefined;
  readonly #leaders = new Map<ShardId, NodeNumber>();
  #tls: TlsMaterial;

  constructor(options: ClusterOptions) {
    this.identity = options.identity;
    this.#tls = options.identity.tls;
    this.operationWaitMs = options.operationWaitMs ?? LIMITS.operationWaitMs;
    this.connections = new Connections({
      tls: () => this.#tls,
      clusterId: options.identity.clusterId,
      connectTimeoutMs: CONNECT_MS_MAX,
      addressOf: (node) => this.#map?.nodes.find((record) => record.number === node)?.wireAddress,
      onNotice: (method, header) => {
        if (method === 'map.epoch') this.#noticeEpoch((header as { epoch: number }).epoch);
        else options.onNotice?.(method, header);
      },
    });
  }

  /** The newest map known. Throws UNREACHABLE before {@link ready} has resolved once. */
  get map(): ClusterMap {
    if (this.#map === undefined) {
      throw new HoldfastError('UNREACHABLE', 'no peer of the cluster has been reached yet');
    }
    return this.#map;
  }

  /** Uses this certificate for connections to come; those that are open stay. */
  useCertificate(tls: TlsMaterial): void {
    this.#tls = tls;
  }

  /** Resolves once a map is known; tries every known address within the bounded wait. */
  async ready(signal?: AbortSignal): Promise<void> {
    const wait = new BoundedWait(this.operationWaitMs, signal);
    while (this.#map === undefined) {
      await this.refresh();
      if (this.#map === undefined) {
        const tried = this.identity.addresses.join(', ') || 'none known';
        await wait.pause(
          new HoldfastError('UNREACHABLE', `no peer of the cluster answers (tried: ${tried})`),
        );
      }
    }
  }

  /** Asks the peers in turn for a newer map until one answers; never throws. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refreshFromAny().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refreshFromAny(): Promise<void> {
    const known = this.#map?.nodes.filter((node) => node.state === 'up') ?? [];
    const clients = [
      ...known.map((node) => this.connections.to(node.number, 'meta')),
      ...this.identity.addresses.map((address) => this.connections.at(address, 'meta')),
    ];
    for (const client of clients) {
      if (client !== undefined && (await this.#refreshFrom(client))) return;
    }
  }

  async #refreshFrom(client: WireClient): Promise<boolean> {
    try {
      const { header } = await client.call<{ map?: ClusterMap }>(
        'registry.map',
        { sinceEpoch: this.#map?.epoch ?? 0 },
        { deadlineMs: CONNECT_MS_MAX },
      );
      if (header.map !== undefined && header.map.epoch > (this.#map?.epoch ?? 0))
        this.#map = header.map;
      return true;
    } catch {
      return false; // the next address is tried; the caller reports when none answers
    }
  }

  #noticeEpoch(epoch: number): void {
    if (epoch > (this.#map?.epoch ?? 0)) void this.refresh();
  }

  /**
   * Calls a method of the shard's leader, following hints and waiting out elections within the
   * bounded wait. Refusals are thrown at once; outages when the wait is over. Safe for reads and
   * for commands, which are exactly-once by (session, sequence). After {@link close}, also when it is
   * called meanwhile: UNREACHABLE or SHUTTING_DOWN.
   */
  async callLeader<T>(
    shard: ShardId,
    method: string,
    header: unknown,
    signal?: AbortSignal,
  ): Promise<CallOutcome<T>> {
    await this.ready(signal);
    const wait = new BoundedWait(this.operationWaitMs, signal);
    let retried = false;
    for (let attempt = 0; ; attempt++) {
      const node = this.#leaders.get(shard) ?? this.#candidate(shard, attempt);
      try {
        const client = node === undefined ? undefined : this.connections.to(node, 'meta');
        if (client === undefined)
          throw new HoldfastError('NO_QUORUM', `shard ${shard} has no known member`);
        const answer = await client.call<T>(method, header, {
          deadlineMs: wait.remainingMs(TRY_MS_MAX),
        });
        if (node !== undefined) this.#leaders.set(shard, node);
        return { header: answer.header, retried };
      } catch (error) {
        const failure = asOutage(error);
        // Ours are closed: no other peer and no later time would do better.
        if (this.connections.isClosed) throw failure;
        const followed = this.#learn(shard, node, failure);
        if (!isUndone(failure)) retried = true;
        if (followed && attempt % 4 !== 3) wait.check(noQuorum(shard, failure));
        else {
          if (attempt % 4 === 3) await this.refresh();
          await wait.pause(noQuorum(shard, failure));
        }
      }
    }
  }

  #members(shard: ShardId): readonly NodeNumber[] {
    return this.#map?.shards.find((record) => record.shard === shard)?.members ?? [];
  }

  #candidate(shard: ShardId, attempt: number): NodeNumber | undefined {
    const members = this.#members(shard);
    return members[attempt % Math.max(1, members.length)];
  }

  /** Takes the leader hint of a refusal; true when it names another peer, so that no pause is due. */
  #learn(shard: ShardId, asked: NodeNumber | undefined, failure: HoldfastError): boolean {
    const hint = failure.code === 'NOT_LEADER' ? Number(failure.detail['leader'] ?? 0) : 0;
    if (hint !== 0 && hint !== asked) {
      this.#leaders.set(shard, hint as NodeNumber);
      return true;
    }
    this.#leaders.delete(shard);
    return false;
  }

  async close(): Promise<void> {
    await this.connections.close();
  }
}

/** Whether a try is known to have had no effect. */
function isUndone({ code, detail }: HoldfastError): boolean {
  if (code === 'OVERLOADED') return true;
  return code === 'NOT_LEADER' && detail['isOutcomeUnknown'] !== true;
}

/** An outage to be waited out; anything else is final and thrown. */
function asOutage(error: unknown): HoldfastError {
  if (error instanceof HoldfastError && error.kind === 'outage') return error;
  throw error;
}

function noQuorum(shard: ShardId, cause: HoldfastError): HoldfastError {
  if (cause.code === 'NO_QUORUM' || cause.code === 'OVERLOADED') return cause;
  return new HoldfastError(
    'NO_QUORUM',
    `shard ${shard} has no leader that can be reached (${cause.message})`,
    { cause },
  );
}
