/** Which peers vote in a shard: 1, then 3, then 5 of them, spread over zones. */
import type { NodeNumber, NodeRecord } from '@holdfast/protocol';

/** What {@link chooseMembers} looks at. */
export interface MembersInput {
  readonly present: readonly NodeNumber[];
  readonly nodes: readonly NodeRecord[];
  /** Shards that a peer is already a member of; the least loaded is taken first. */
  readonly load: (node: NodeNumber) => number;
}

/** How many members a shard should have when so many peers are usable. */
export function votersFor(usablePeers: number): number {
  if (usablePeers >= 5) return 5;
  return usablePeers >= 3 ? 3 : 1;
}

/**
 * The members a shard should have. A member that is merely down stays; one that is out, draining or
 * gone is replaced as soon as an up peer can take its place. Below three usable peers a group that
 * has grown keeps its members: giving up a voter that may come back gains nothing.
 */
export function chooseMembers(input: MembersInput): readonly NodeNumber[] {
  const byNumber = new Map(input.nodes.map((node) => [node.number, node]));
  const known = input.present.filter((member) => byNumber.has(member));
  const usable = input.nodes.filter((node) => node.state === 'up' || node.state === 'down');
  if (usable.length < 3 && known.length > 1) return known;
  const target = votersFor(usable.length);
  const kept = known.filter((member) => usable.some((node) => node.number === member));
  const members = trimmed(kept, target, byNumber);
  const candidates = usable.filter((node) => node.state === 'up' && !members.includes(node.number));
  while (members.length < target && candidates.length > 0) {
    const next = best(candidates, members, byNumber, input.load);
    members.push(next.number);
    candidates.splice(candidates.indexOf(next), 1);
  }
  // Nobody to take an emptied place: whoever holds it goes on voting.
  for (const member of known) {
    if (members.length < Math.min(target, known.length) && !members.includes(member))
      members.push(member);
  }
  return members.length === 0 ? input.present : members;
}

/** Too many: those that are down go first, then those that share a zone, then the newest. */
function trimmed(
  kept: readonly NodeNumber[],
  target: number,
  byNumber: ReadonlyMap<NodeNumber, NodeRecord>,
): NodeNumber[] {
  const members = [...kept];
  while (members.length > target) {
    const cost = (member: NodeNumber): number => {
      const node = byNumber.get(member);
      const shared = members.filter((other) => byNumber.get(other)?.zone === node?.zone).length > 1;
      return (node?.state === 'down' ? 2 : 0) + (shared ? 1 : 0);
    };
    const [worst] = [...members].sort((a, b) => cost(b) - cost(a) || b - a);
    members.splice(members.indexOf(worst as NodeNumber), 1);
  }
  return members;
}

function best(
  candidates: readonly NodeRecord[],
  members: readonly NodeNumber[],
  byNumber: ReadonlyMap<NodeNumber, NodeRecord>,
  load: (node: NodeNumber) => number,
): NodeRecord {
  const inZone = (zone: string): number =>
    members.filter((member) => byNumber.get(member)?.zone === zone).length;
  const [first] = [...candidates].sort(
    (a, b) =>
      inZone(a.zone) - inZone(b.zone) || load(a.number) - load(b.number) || a.number - b.number,
  );
  return first as NodeRecord;
}
