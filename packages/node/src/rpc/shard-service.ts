/** Operations that the cluster itself runs in volume shards, from any peer to the shard's leader. */
import {
  HoldfastError,
  type NodeNumber,
  type Operation,
  type OperationAnswer,
  type ShardId,
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
const PAUSE_MS = 100;

/** An operation of the cluster's own in one volume's shard. */
export interface RunRequest {
  readonly shard: ShardId;
  readonly volume: VolumeNumber;
  readonly operation: Operation;
}

/** Runs an operation in a shard that this peer leads. Throws the shard's refusal, NOT_LEADER, an outage. */
export type RunHere = (request: RunRequest, signal?: AbortSignal) => Promise<OperationAnswer>;

/** What {@link shardRunner} works with. */
export interface ShardRunnerOptions {
  readonly self: NodeNumber;
  readonly host: Pick<ShardHost, 'leaderOf'>;
  readonly run: RunHere;
  readonly map: MapCache;
  readonly peers: Peers;
  /** This peer stops: nobody waits any longer. */
  readonly stopping: AbortSignal;
}

/** Adds the calls to the server. Peers only: the first acts in the cluster's own name. */
export function serveShards(
  server: RpcServer,
  run: RunHere,
  status: () => Promise<PeerAnswer>,
): void {
  server.handle(RPC.shards, ['node'], status);
  server.handle(RPC.run, ['node'], ({ request }) => run(request as RunRequest));
}

/** Runs operations wherever their shard is led. They must be repeatable: a try may have taken effect unseen. */
export function shardRunner(options: ShardRunnerOptions): RunInShard {
  return async (shard, volume, operation) => {
    const request: RunRequest = { shard, volume, operation };
    const deadline = performance.now() + WAIT_MS;
    let hint: NodeNumber | 0 = 0;
    for (let attempt = 0; ; attempt++) {
      const leader = candidate(options, shard, { hint, attempt });
      try {
        if (leader === undefined)
          throw new HoldfastError('NO_QUORUM', `no member of shard ${shard} is known`);
        if (leader === options.self) return await options.run(request, options.stopping);
        return await options.peers.to(leader).call<OperationAnswer>(RPC.run, request, {
          deadlineMs: TRY_MS,
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
  };
}

function candidate(
  options: ShardRunnerOptions,
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
