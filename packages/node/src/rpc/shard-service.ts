/** Operations that the cluster itself runs in volume shards, from any peer to the shard's leader. */
import {
  HoldfastError,
  type NodeNumber,
  type Operation,
  type OperationAnswer,
  type ShardId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { ShardHost } from '../consensus/shard-host.ts';
import type { MapCache } from '../membership/map-cache.ts';
import type { PeerAnswer } from '../membership/status.ts';
import type { RunInShard } from '../membership/volumes.ts';
import { RPC } from './messages.ts';
import type { Peers } from './peers.ts';
import type { RpcServer } from './server.ts';

/** Milliseconds for all tries, for one, and between two. */
const WAIT_MS = 15_000;
const TRY_MS = 5_000;
/** A look may have to read much. */
const LOOK_TRY_MS = 15_000;
const PAUSE_MS = 100;

/** An operation of the cluster's own in one volume's shard. */
export interface RunRequest {
  readonly shard: ShardId;
  readonly volume: VolumeNumber;
  readonly operation: Operation;
  /** The 'now' of the operation; the leader's clock when absent. */
  readonly timeNs?: bigint;
}

/** A linearizable look of the cluster's own at one volume. */
export interface LookRequest {
  readonly shard: ShardId;
  readonly volume: VolumeNumber;
  readonly view: View;
}

/** Looks at a volume, wherever its shard is led. Throws the view's refusals, or an outage. */
export type LookInShard = <V extends View>(
  shard: ShardId,
  volume: VolumeNumber,
  view: V,
) => Promise<ViewAnswers[V['view']]>;

/** Runs an operation in a shard that this peer leads. Throws the shard's refusal, NOT_LEADER, an outage. */
export type RunHere = (request: RunRequest, signal?: AbortSignal) => Promise<OperationAnswer>;

/** Looks at a volume of a shard that this peer leads. Throws the view's refusals, NOT_LEADER, an outage. */
export type LookHere = (request: LookRequest, signal?: AbortSignal) => Promise<unknown>;

/** What a peer does for others in the shards that it leads. */
export interface ShardCalls {
  readonly run: RunHere;
  readonly look: LookHere;
}

/** What {@link shardRunner} and {@link shardLooker} work with. */
export interface ShardCallerOptions {
  readonly self: NodeNumber;
  readonly host: Pick<ShardHost, 'leaderOf'>;
  readonly here: ShardCalls;
  readonly map: MapCache;
  readonly peers: Peers;
  /** This peer stops: nobody waits any longer. */
  readonly stopping: AbortSignal;
}

/** Adds the calls to the server. Peers only: the first acts in the cluster's own name. */
export function serveShards(
  server: RpcServer,
  calls: ShardCalls,
  status: () => Promise<PeerAnswer>,
): void {
  server.handle(RPC.shards, ['node'], status);
  server.handle(RPC.run, ['node'], ({ request }) => calls.run(request as RunRequest));
  server.handle(RPC.look, ['node'], ({ request }) => calls.look(request as LookRequest));
}

/** Runs operations wherever their shard is led. They must be repeatable: a try may have taken effect unseen. */
export function shardRunner(options: ShardCallerOptions): RunInShard {
  return (shard, volume, operation, timeNs) => {
    const request = { shard, volume, operation, ...(timeNs !== undefined && { timeNs }) };
    return withLeader<RunRequest, OperationAnswer>(options, request, {
      here: options.here.run,
      path: RPC.run,
      tryMs: TRY_MS,
    });
  };
}

/** Looks at volumes wherever their shard is led. */
export function shardLooker(options: ShardCallerOptions): LookInShard {
  return <V extends View>(shard: ShardId, volume: VolumeNumber, view: V) => {
    const here = options.here.look as (
      request: LookRequest,
      signal?: AbortSignal,
    ) => Promise<ViewAnswers[V['view']]>;
    return withLeader(
      options,
      { shard, volume, view },
      {
        here,
        path: RPC.look,
        tryMs: LOOK_TRY_MS,
      },
    );
  };
}

async function withLeader<Request extends { readonly shard: ShardId }, Answer>(
  options: ShardCallerOptions,
  request: Request,
  call: {
    readonly here: (request: Request, signal?: AbortSignal) => Promise<Answer>;
    readonly path: string;
    readonly tryMs: number;
  },
): Promise<Answer> {
  const { shard } = request;
  const deadline = performance.now() + WAIT_MS;
  let hint: NodeNumber | 0 = 0;
  for (let attempt = 0; ; attempt++) {
    const leader = candidate(options, shard, { hint, attempt });
    try {
      if (leader === undefined)
        throw new HoldfastError('NO_QUORUM', `no member of shard ${shard} is known`);
      if (leader === options.self) return await call.here(request, options.stopping);
      return await options.peers.to(leader).call<Answer>(call.path, request, {
        deadlineMs: call.tryMs,
        signal: options.stopping,
      });
    } catch (error) {
      if (!isPassing(error) || performance.now() > deadline || options.stopping.aborted)
        throw error;
      hint = Number(error.detail['leader'] ?? 0) as NodeNumber;
      if (hint === leader) hint = 0;
      if (hint === 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

function candidate(
  options: ShardCallerOptions,
  shard: ShardId,
  o: { readonly hint: NodeNumber | 0; readonly attempt: number },
): NodeNumber | undefined {
  if (o.hint !== 0) return o.hint;
  const known = options.host.leaderOf(shard);
  if (known !== 0 && o.attempt % 2 === 0) return known;
  const members =
    options.map.current?.shards.find((record) => record.shard === shard)?.members ?? [];
  return members[o.attempt % Math.max(1, members.length)];
}

function isPassing(error: unknown): error is HoldfastError {
  return (
    error instanceof HoldfastError && (error.kind === 'outage' || error.code === 'UNKNOWN_OUTCOME')
  );
}
