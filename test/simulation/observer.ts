/** Sees everything, tells the checkers, and folds it into one hash of the whole run. */
import type { Ready, ReplicaId } from '@holdfast/raft';
import { checkDurableQuorum } from './checkers/durable-quorum.ts';
import { ElectionSafety } from './checkers/election-safety.ts';
import { LeaderCompleteness } from './checkers/leader-completeness.ts';
import { checkLeaderVotes } from './checkers/leader-votes.ts';
import { LinearizableReads } from './checkers/linearizable-reads.ts';
import { LogMatching } from './checkers/log-matching.ts';
import { StateMachineEquality } from './checkers/state-machine.ts';
import type { Clock } from './clock.ts';
import type { AppliedState } from './disk.ts';
import { fold } from './hash.ts';
import type { SimNode } from './node.ts';

export class Observer {
  readonly #clock: Clock;
  readonly nodes = new Map<ReplicaId, SimNode>();
  readonly elections = new ElectionSafety();
  readonly logs = new LogMatching();
  readonly leaders = new LeaderCompleteness();
  readonly states = new StateMachineEquality();
  readonly reads = new LinearizableReads();
  /** How often things happened, so that a run that tests nothing is noticed. */
  readonly counts: Record<string, number> = {};
  readonly #print: ((line: string) => void) | undefined;
  /** Of everything so far: two runs of a seed must end with the same. */
  hash = 0;
  /** Nodes that lead, and the term, as of their last Ready. */
  readonly #leading = new Map<ReplicaId, number>();

  constructor(clock: Clock, print?: (line: string) => void) {
    this.#clock = clock;
    this.#print = print;
  }

  trace(id: ReplicaId, event: string, a = 0, b = 0): void {
    this.hash = fold(fold(fold(fold(this.hash, this.#clock.now), id), a), b);
    for (let i = 0; i < event.length; i += 1) this.hash = fold(this.hash, event.charCodeAt(i));
    if (!this.#print) return;
    const time = (this.#clock.now / 100).toFixed(2);
    this.#print(`${time.padStart(8)} ${id} ${event} ${a} ${b}`);
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
    this.trace(0, what);
  }

  /** Called when the Ready was written to the node's log, before anything of it was acknowledged. */
  onReady(node: SimNode, ready: Ready): void {
    const { view } = node.disk;
    for (const { index, term } of ready.entries) {
      this.logs.holds(node.id, index, term, view.hashAt(index)!);
    }
    const { commit, role, term, membership, isMembershipSettled } = node.group.status();
    if (role === 'leader') checkLeaderVotes(node.id, membership, isMembershipSettled);
    if (role !== 'leader') this.#leading.delete(node.id);
    else if (this.#leading.get(node.id) !== term) this.#onLeader(node, term);
    if (ready.hardState && ready.hardState.commit === commit)
      this.#onCommit(node, commit, role, term);
    for (const { context, index } of ready.readStates) {
      this.trace(node.id, 'read', context, index);
      this.reads.answer(node.id, context, index);
    }
  }

  #onLeader(node: SimNode, term: number): void {
    this.#leading.set(node.id, term);
    this.trace(node.id, 'leads', term);
    this.elections.leads(term, node.id);
    const { view } = node.disk;
    this.leaders.leads(node.id, term, (index) =>
      index < view.base.index ? 'compacted' : view.hashAt(index),
    );
  }

  #onCommit(node: SimNode, commit: number, role: string, term: number): void {
    this.trace(node.id, 'commits', commit, term);
    this.reads.commits(commit);
    if (role !== 'leader' || commit <= node.disk.view.base.index) return;
    const hash = node.disk.view.hashAt(commit)!;
    this.leaders.commits(term, commit, hash);
    const { latest, at } = {
      latest: node.group.status().membership,
      at: node.group.membershipAt(commit),
    };
    checkDurableQuorum(commit, [latest, at], (id) => {
      const durable = this.nodes.get(id)?.disk.durable;
      if (!durable) return false;
      return durable.base.index > commit || durable.hashAt(commit) === hash;
    });
  }

  onApplied(node: SimNode, state: AppliedState): void {
    this.trace(node.id, 'applies', state.index, state.hash);
    this.reads.commits(state.index);
    this.states.applied(node.id, state.index, state.hash);
  }

  onCrash(node: SimNode): void {
    this.trace(node.id, 'crash');
    this.#leading.delete(node.id);
  }
}
