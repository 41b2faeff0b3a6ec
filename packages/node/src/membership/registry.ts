/** The registry from any peer: changes go to the leader of the system shard, wherever that is. */
import { randomBytes } from 'node:crypto';
import type {
  ClusterState,
  RegistryAnswer,
  RegistryChange,
  RegistryCommand,
  RegistryResult,
} from '@holdfast/placement';
import { encode, HoldfastError, type NodeNumber, SYSTEM_SHARD } from '@holdfast/protocol';
import type { ShardHost } from '../consensus/shard-host.ts';
import { commandOf, type RegistryView, type RegistryViewAnswers, RPC } from '../rpc/messages.ts';
import type { Peers } from '../rpc/peers.ts';
import type { SystemShard } from '../shards/system-shard.ts';
import type { MapCache } from './map-cache.ts';

/** Milliseconds that a change waits for a leader. */
const WAIT_MS = 15_000;
const TRY_MS = 5_000;
const PAUSE_MS = 100;

/** What {@link Registry} works with. */
export interface RegistryOptions {
  readonly self: NodeNumber;
  readonly host: Pick<ShardHost, 'propose' | 'readBarrier' | 'leaderOf' | 'isLeader'>;
  /** The system shard on this peer; undefined while it is no member. */
  readonly shard: () => SystemShard | undefined;
  readonly map: MapCache;
  readonly peers: Peers;
  /** This peer stops: whoever waits for a leader or a quorum waits no longer. */
  readonly stopping: AbortSignal;
}

/** Reads and changes of the registry. */
export class Registry {
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** Whether this peer leads the system shard, as far as it knows. */
  get isLeader(): boolean {
    return this.#options.shard() !== undefined && this.#options.host.isLeader(SYSTEM_SHARD);
  }

  /** The leader of the system shard, 0 when unknown. */
  get leader(): NodeNumber | 0 {
    return this.#options.shard() === undefined ? 0 : this.#options.host.leaderOf(SYSTEM_SHARD);
  }

  /** Throws NOT_LEADER with who leads, as a client expects it. */
  assertLeader(): void {
    if (!this.isLeader)
      throw new HoldfastError('NOT_LEADER', undefined, { detail: { leader: this.leader } });
  }

  /** The state as of now, linearizable; on the leader only. Throws NOT_LEADER, NO_QUORUM. */
  async read(): Promise<ClusterState> {
    this.assertLeader();
    await this.#options.host.readBarrier(SYSTEM_SHARD, { signal: this.#options.stopping });
    return this.applied();
  }

  /** The state that this peer has applied. Throws NOT_LEADER when it is no member of the system shard. */
  applied(): ClusterState {
    const shard = this.#options.shard();
    if (shard === undefined)
      throw new HoldfastError('NOT_LEADER', undefined, { detail: { leader: 0 } });
    return shard.state;
  }

  /** A change, from any peer. Throws its refusal, or an outage after the bounded wait; then it may still happen. */
  async execute(change: RegistryChange): Promise<RegistryAnswer> {
    // The id stays through all tries: a change that took effect unseen is answered, not done twice.
    const command = commandOf(change, randomBytes(12).toString('hex'), Date.now());
    return this.#withLeader(
      () => this.executeHere(command),
      (leader) => this.#ask<RegistryAnswer>(leader, RPC.execute, { command }),
    );
  }

  #ask<T>(leader: NodeNumber, path: string, request: unknown): Promise<T> {
    const { peers, stopping } = this.#options;
    return peers.to(leader).call<T>(path, request, { deadlineMs: TRY_MS, signal: stopping });
  }

  /** A linearizable look, from any peer. Throws an outage after the bounded wait. */
  async view<V extends RegistryView>(view: V): Promise<RegistryViewAnswers[V['view']]> {
    return this.#withLeader<RegistryViewAnswers[V['view']]>(
      () => this.viewHere(view),
      (leader) => this.#ask(leader, RPC.view, view),
    );
  }

  /** {@link view} on the leader. Throws NOT_LEADER, NO_QUORUM. */
  async viewHere<V extends RegistryView>(view: V): Promise<RegistryViewAnswers[V['view']]> {
    return look(await this.read(), view) as RegistryViewAnswers[V['view']];
  }

  /** Proposes a command on this peer. Throws NOT_LEADER, NO_QUORUM, UNKNOWN_OUTCOME or the refusal. */
  async executeHere(command: RegistryCommand): Promise<RegistryAnswer> {
    this.assertLeader();
    const result = (await this.#options.host.propose(
      SYSTEM_SHARD,
      encode(command),
    )) as RegistryResult;
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code, result.message, { detail: result.detail ?? {} });
  }

  async #withLeader<T>(
    here: () => Promise<T>,
    there: (leader: NodeNumber) => Promise<T>,
  ): Promise<T> {
    const deadline = performance.now() + WAIT_MS;
    let hint: NodeNumber | 0 = 0;
    for (let attempt = 0; ; attempt++) {
      const leader = this.#candidate(hint, attempt);
      try {
        if (leader === undefined)
          throw new HoldfastError('NO_QUORUM', 'no peer of the system shard is known');
        return leader === this.#options.self ? await here() : await there(leader);
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (performance.now() > deadline || this.#options.stopping.aborted) throw leaderless(error);
        hint = Number(error.detail['leader'] ?? 0) as NodeNumber;
        if (hint === 0 || hint === leader) {
          hint = 0;
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
      }
    }
  }

  #candidate(hint: NodeNumber | 0, attempt: number): NodeNumber | undefined {
    if (hint !== 0) return hint;
    if (attempt % 3 === 0 && this.leader !== 0) return this.leader as NodeNumber;
    const shards = this.#options.map.current?.shards ?? [];
    const members = shards.find((record) => record.shard === SYSTEM_SHARD)?.members ?? [];
    return members[attempt % Math.max(1, members.length)] ?? (this.leader || undefined);
  }
}

/** In the end nobody cares which peer did not lead, but that none does. */
function leaderless(error: HoldfastError): HoldfastError {
  if (error.code !== 'NOT_LEADER') return error;
  return new HoldfastError(
    'NO_QUORUM',
    `no peer leads the system shard since ${WAIT_MS / 1000} s: more than half of its members must run and reach each other; 'holdfast status' shows which do`,
    { cause: error },
  );
}

/** Whether another try, perhaps elsewhere, can end better: commands carry an id, so that repeating is safe. */
function isPassing(error: unknown): error is HoldfastError {
  return (
    error instanceof HoldfastError && (error.kind === 'outage' || error.code === 'UNKNOWN_OUTCOME')
  );
}

function look(state: ClusterState, view: RegistryView): RegistryViewAnswers[RegistryView['view']] {
  switch (view.view) {
    case 'token': {
      const token = state.token(view.id);
      return token === undefined ? {} : { token };
    }
    case 'tokens':
      return { tokens: [...state.tokens] };
    case 'volume': {
      const volume = state.volumeNamed(view.name)?.record;
      return volume === undefined ? {} : { volume };
    }
    case 'volumes':
      return { volumes: [...state.volumes].map(({ record }) => record) };
    case 'repositories':
      return { repositories: state.repositories };
    default:
      throw new HoldfastError('ENOSYS', 'no such view of the registry');
  }
}
