import type { ClusterMap, NodeNumber } from '@holdfast/protocol';

/** A connection on which chunks travel. */
export interface ChunkConnection {
  call(
    method: string,
    header: unknown,
    o: {
      readonly body?: Uint8Array;
      readonly signal?: AbortSignal;
      readonly deadlineMs?: number;
    },
  ): Promise<{ readonly body: Uint8Array }>;
}

/** The cluster as those see it who write and read its chunks. */
export interface ChunkCluster {
  /** The newest map known. Throws UNREACHABLE before {@link ready} has resolved once. */
  readonly map: ClusterMap;
  /** Milliseconds that a write or read tries; 0: for ever. */
  readonly operationWaitMs: number;
  /** `node`: the peer on this host, if any. */
  readonly identity: { readonly node?: NodeNumber };
  /** Resolves when a map is known. */
  ready(signal?: AbortSignal): Promise<void>;
  /** Looks for a newer map; never throws. */
  refresh(): Promise<void>;
  readonly connections: {
    /** Undefined when the peer's address is unknown. */
    to(node: NodeNumber, lane: 'bulk'): ChunkConnection | undefined;
  };
}
