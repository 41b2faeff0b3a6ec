import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import type { GroupStatus, MembershipTarget } from '@holdfast/raft';
import type { ShardReplica } from './replica.ts';
import type { ShardMembers } from './shard-host.ts';

/** Milliseconds between looks at how far a change has come. */
const LOOK_MS = 20;
/** Entries that a learner may be behind when it becomes a voter. */
const LAG_MAX = 64;

/** One change of who belongs to a shard, or of who leads it, made from its leader. */
export class MembershipChange {
  readonly #replica: ShardReplica;
  readonly #wake: () => void;
  readonly #isOver: () => boolean;

  constructor(replica: ShardReplica, wake: () => void, isOver: () => boolean) {
    this.#replica = replica;
    this.#wake = wake;
    this.#isOver = isOver;
  }

  /** See ShardHost.changeMembers. */
  async run({ voters, learners }: ShardMembers): Promise<void> {
    const { membership } = this.#replica.group.status();
    const added = voters.filter((id) => !membership.voters.includes(id));
    if (added.length > 0) {
      // Newcomers get the log first, or the group would wait for them to commit anything.
      const kept = membership.learners.filter((id) => !added.includes(id as NodeNumber));
      await this.#apply({ voters: membership.voters, learners: [...kept, ...added] });
      await this.#until((status) => added.every((id) => isNear(status, id)));
    }
    await this.#apply({ voters, learners });
  }

  async #apply(target: MembershipTarget): Promise<void> {
    for (;;) {
      const answer = this.#replica.group.proposeMembership(target);
      this.#wake();
      if (!('code' in answer) || answer.code === 'unchanged') break;
      if (answer.code === 'not-leader') throw this.#replica.notLeader();
      if (answer.code === 'invalid') throw new HoldfastError('BAD_REQUEST', answer.message);
      await this.#pause();
    }
    const voters = [...target.voters].sort((a, b) => a - b).join();
    await this.#until(
      ({ isMembershipSettled, membership }) =>
        isMembershipSettled && membership.voters.join() === voters,
    );
  }

  /** See ShardHost.transfer. */
  async transfer(to: NodeNumber): Promise<void> {
    const answer = this.#replica.group.transferLeadership(to);
    this.#wake();
    if (answer !== 'accepted') {
      if (answer.code === 'not-leader') throw this.#replica.notLeader();
      throw new HoldfastError('BAD_REQUEST', `peer ${to} is no voter of the shard, or leads it`);
    }
    while (this.#replica.group.status().leader !== to) await this.#pause();
  }

  async #until(isDone: (status: GroupStatus) => boolean): Promise<void> {
    for (;;) {
      const status = this.#replica.group.status();
      // A leader that removed itself is done as a follower.
      if (isDone(status)) return;
      if (status.role !== 'leader') throw this.#replica.notLeader();
      await this.#pause();
    }
  }

  async #pause(): Promise<void> {
    if (this.#isOver()) throw new HoldfastError('NO_QUORUM');
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function isNear(status: GroupStatus, id: NodeNumber): boolean {
  const follower = status.followers.find((candidate) => candidate.id === id);
  return follower !== undefined && follower.match + LAG_MAX >= status.commit && follower.match > 0;
}
