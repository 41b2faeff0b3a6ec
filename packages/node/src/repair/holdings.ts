/** What a map asks of one peer: which partitions it holds, and whom to compare each with. */
import type {
  ClusterMap,
  NodeNumber,
  NodeState,
  PartitionId,
  PartitionPlacement,
} from '@holdfast/protocol';

/** A partition that this peer is to hold. */
export interface Holding {
  readonly partition: PartitionId;
  /** This peer's place among the replicas: chunks of as many copies or fewer are not for it. */
  readonly place: number;
  /** Other peers that may hold chunks of it: its replicas, then those of the table before. */
  readonly others: readonly NodeNumber[];
  /** Present while it moves. */
  readonly move?: Move;
}

/** A partition on its way to new replicas. */
export interface Move {
  /** The same as long as the partition does not move on. */
  readonly signature: string;
  /** Peers that must be compared with before this one may say that it has everything. */
  readonly from: readonly NodeNumber[];
}

/** All that a map asks of a peer. */
export interface Holdings {
  readonly map: ClusterMap;
  readonly held: ReadonlyMap<PartitionId, Holding>;
  /** By other peer: the partitions to compare with it. */
  readonly shared: ReadonlyMap<NodeNumber, readonly PartitionId[]>;
}

/** Reads a map with the eyes of one peer. */
export function holdingsOf(map: ClusterMap, self: NodeNumber): Holdings {
  const held = new Map<PartitionId, Holding>();
  const shared = new Map<NodeNumber, PartitionId[]>();
  const states = new Map(map.nodes.map((node) => [node.number, node.state]));
  for (const [index, placement] of map.partitions.entries()) {
    if (!placement.replicas.includes(self)) continue;
    const partition = index as PartitionId;
    const holding = holdingOf(partition, placement, self, states);
    held.set(partition, holding);
    for (const other of holding.others) {
      const partitions = shared.get(other);
      if (partitions === undefined) shared.set(other, [partition]);
      else partitions.push(partition);
    }
  }
  return { map, held, shared };
}

function holdingOf(
  partition: PartitionId,
  { replicas, previous }: PartitionPlacement,
  self: NodeNumber,
  states: ReadonlyMap<NodeNumber, NodeState>,
): Holding {
  const isOther = (node: NodeNumber): boolean => node !== self && states.has(node);
  const others = [...new Set([...replicas, ...(previous ?? [])])].filter(isOther);
  const place = replicas.indexOf(self);
  if (previous === undefined) return { partition, place, others };
  // A peer given up for good is not waited for; one that is merely down may have what nobody else has.
  const from = previous.filter((node) => isOther(node) && states.get(node) !== 'out');
  const signature = `${replicas.join()}/${previous.join()}`;
  return { partition, place, others, move: { signature, from } };
}

/** Whether a chunk of so many copies (0: one on every replica) is for the replica at a place. */
export function isFor(place: number, copies: number): boolean {
  return copies === 0 || place < copies;
}

/** Whether a map names a peer for a partition, as a replica or as one of the table before. */
export function isNamed(map: ClusterMap, partition: PartitionId, node: NodeNumber): boolean {
  const placement = map.partitions[partition];
  // A map without the partition says nothing: then nothing may be given up.
  if (placement === undefined) return true;
  return placement.replicas.includes(node) || placement.previous?.includes(node) === true;
}

/** Whether a peer is to keep a chunk of so many copies, as a map says it. In doubt it is. */
export function isKept(
  map: ClusterMap,
  partition: PartitionId,
  node: NodeNumber,
  copies: number,
): boolean {
  const placement = map.partitions[partition];
  if (placement === undefined) return true;
  const place = placement.replicas.indexOf(node);
  if (placement.previous !== undefined) return isNamed(map, partition, node);
  return place >= 0 && isFor(place, copies);
}

/**
 * Partitions in the order in which they should be made whole: those with the fewest peers to
 * fetch from first, since they are the nearest to being lost.
 */
export function mostEndangeredFirst(
  holdings: Holdings,
  partitions: Iterable<PartitionId>,
): PartitionId[] {
  const up = new Set(
    holdings.map.nodes
      .filter((node) => node.state === 'up' || node.state === 'draining')
      .map((node) => node.number),
  );
  const sources = (partition: PartitionId): number =>
    holdings.held.get(partition)?.others.filter((node) => up.has(node)).length ?? 0;
  return [...partitions].sort((a, b) => sources(a) - sources(b) || a - b);
}
