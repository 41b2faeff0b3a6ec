/**
 * Is the simulation worth anything? Each mutant is packages/raft with one rule of the paper (or of ours)
 * broken; the simulation has to notice every one.
 *   node test/simulation/mutants.ts [--only NAME] [--seeds N]
 * The sources on disk are not touched: a child process changes the text while it loads it.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { parseArgs } from 'node:util';

interface Mutant {
  /** The rule that is broken. */
  readonly rule: string;
  readonly edits: readonly { readonly file: string; readonly from: string; readonly to: string }[];
}

const RAFT = new URL('../../packages/raft/src/', import.meta.url);

function mutant(rule: string, ...edits: [file: string, from: string, to: string][]): Mutant {
  return { rule, edits: edits.map(([file, from, to]) => ({ file, from, to })) };
}

const MUTANTS: Readonly<Record<string, Mutant>> = {
  'ack-early': mutant('a follower confirms entries only when they are durable', [
    'replication.ts',
    'afterPersist: index > replica.log.persisted',
    'afterPersist: false',
  ]),
  'count-self-early': mutant('a leader counts its own entries only when they are durable', [
    'replication.ts',
    'id === replica.id ? log.persisted',
    'id === replica.id ? log.lastIndex',
  ]),
  'vote-early': mutant(
    'votes and terms are shown only when they are durable',
    ['election.ts', '{ afterPersist: granted }', '{}'],
    ['replica.ts', 'this.durable.term !== this.term;\n    if', 'false;\n    if'],
  ),
  'vote-twice': mutant('one vote a term', [
    'election.ts',
    'const isFree =',
    'const isFree = true ||',
  ]),
  'vote-for-anyone': mutant('no vote for a log that lacks entries (5.4.1)', [
    'log.ts',
    'return lastTerm > this.lastTerm ||',
    'return true ||',
  ]),
  'commit-old-term': mutant('only entries of the own term are committed by counting (5.4.2)', [
    'replication.ts',
    ' || log.term(index) !== replica.term',
    '',
  ]),
  'no-consistency-check': mutant('an append must follow an entry that agrees (5.3)', [
    'replication.ts',
    'if (!log.has(message.prevIndex, message.prevTerm)) {',
    'if (message.prevIndex > log.lastIndex) {',
  ]),
  'keep-conflicts': mutant('entries that conflict are replaced (5.3)', [
    'log.ts',
    '!this.has(entry.index, entry.term)',
    'entry.index > this.lastIndex',
  ]),
  'heartbeat-commit': mutant('a heartbeat commits no further than the follower is known to hold', [
    'replication.ts',
    'const commit = Math.min(log.commit, progress.match);',
    'const commit = log.commit;',
  ]),
  'persist-truncated': mutant('a flush of entries that were truncated since counts for nothing', [
    'log.ts',
    'writing.lastIndex = Math.min(writing.lastIndex, from - 1);',
    '',
  ]),
  'apply-early': mutant('entries are applied only when they are durable here', [
    'log.ts',
    'return Math.min(this.#commit, this.persisted);',
    'return this.#commit;',
  ]),
  'half-joint': mutant('a joint membership commits with both majorities (6)', [
    'quorum.ts',
    'majorityReached(membership.votersOutgoing, reachedBy)',
    'Infinity',
  ]),
  'half-joint-vote': mutant('a joint membership elects with both majorities (6)', [
    'quorum.ts',
    'majorityVote(membership.votersOutgoing, voteOf)',
    "'won' as VoteResult",
  ]),
  'no-joint': mutant('voters change through a joint membership (6)', [
    'membership.ts',
    'if (sameIds(current.voters, wanted.voters)) return wanted;',
    'return wanted;',
  ]),
  'keep-truncated-membership': mutant('a truncated membership is no longer in force', [
    'replication.ts',
    'if (fresh.length > 0) replica.memberships.cut(fresh[0]!.index);',
    'if (fresh.length > 0) replica.memberships.cut(message.prevIndex + 999);',
  ]),
  'removed-stay-silent': mutant('a removed voter may lead until its removal is committed (4.2.2)', [
    'replica.ts',
    'return latestIndex > this.log.commit && previous !== undefined && isVoter(previous, this.id);',
    'return latestIndex < 0 && previous !== undefined;',
  ]),
  'lease-not-kept': mutant('a voter keeps quiet while a leader may count on it (4.2.3)', [
    'replica.ts',
    "return this.role === 'leader' || this.leaderElapsed < this.settings.electionTicks;",
    "return this.role === 'leader';",
  ]),
  'lease-forgotten-in-crash': mutant('a restarted voter keeps quiet for an election timeout', [
    'replica.ts',
    'this.term === 0 ? this.settings.electionTicks : 0',
    'this.settings.electionTicks',
  ]),
  'lease-forgotten-with-term': mutant('hearing of a new term does not end the old lease', [
    'replica.ts',
    "return this.role === 'leader' || this.leaderElapsed",
    "return this.role === 'leader' || this.leader !== 0 && this.leaderElapsed",
  ]),
  'lease-after-transfer': mutant('no lease once a successor was told to campaign', [
    'election.ts',
    'replica.isLeaseForfeited = true;',
    '',
  ]),
  'lease-too-long': mutant('the lease is shorter than the election timeout', [
    'options.ts',
    'electionTicks - 2 - Math.ceil(electionTicks / 10)',
    'electionTicks + 3',
  ]),
  'lease-from-answer': mutant('the lease counts from when its round was sent', [
    'read-index.ts',
    'this.#sentTicks[round - this.#confirmed - 1]!',
    'this.#sentTicks.at(-1)! + 2',
  ]),
  'read-unconfirmed': mutant('a read waits for a quorum to confirm the leader (6.4)', [
    'replication.ts',
    'reads.confirm(quorumReached(replica.memberships.latest, answered));',
    'reads.confirm(answered(replica.id));',
  ]),
  'read-before-no-op': mutant('no read before the term has committed an entry (6.4)', [
    'replication.ts',
    'return log.term(log.commit) === term;',
    'return log.commit <= log.lastIndex && term > 0;',
  ]),
  'lost-append': mutant('an append that was lost is noticed and sent again', [
    'progress.ts',
    'if (isStuck && (',
    'if (isStuck && this.id < 0 && (',
  ]),
  'lost-probe': mutant('a probe that was lost is sent again', [
    'progress.ts',
    'return this.match < lastIndex;',
    'return this.next <= lastIndex;',
  ]),
  'snapshot-for-ever': mutant('a snapshot that failed is tried again', [
    'progress.ts',
    "if (this.state !== 'snapshot') return;",
    'return;',
  ]),
  'joint-for-ever': mutant('a joint membership is left when it is committed', [
    'replication.ts',
    'appendMembership(replica, leaveJoint(latest));\n',
    '',
  ]),
  'removed-leader-stays': mutant('a leader that is no voter any more steps down', [
    'step.ts',
    'if (isRemovedForGood(replica)) resign(replica);',
    'if (replica.id < 0) resign(replica);',
  ]),
};

/** In the child: runs seeds with the mutated sources until one fails; prints it. */
async function runMutant(name: string, seeds: number): Promise<void> {
  const { edits } = MUTANTS[name]!;
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      const mine = edits.filter(({ file }) => url === new URL(file, RAFT).href);
      if (mine.length === 0) return loaded;
      let source = readFileSync(new URL(url), 'utf8');
      for (const { from, to } of mine) source = source.replace(from, to);
      return { ...loaded, source };
    },
  });
  const { simulate } = await import('./world.ts');
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      simulate(seed);
    } catch (error) {
      console.log(`caught by ${error instanceof Error ? error.message.split('\n')[0] : error}`);
      return;
    }
  }
  console.log('SURVIVED');
}

/** Each mutant's text must still be there, or it would survive by being no mutant at all. */
function checkEdits(): void {
  for (const [name, { edits }] of Object.entries(MUTANTS)) {
    for (const { file, from } of edits) {
      if (readFileSync(new URL(file, RAFT), 'utf8').includes(from)) continue;
      throw new Error(`mutant ${name}: ${file} has no '${from}' any more`);
    }
  }
}

function runAll(only: string | undefined, seeds: string): void {
  checkEdits();
  for (const [name, { rule }] of Object.entries(MUTANTS)) {
    if (only !== undefined && only !== name) continue;
    const script = new URL(import.meta.url).pathname;
    const child = spawnSync(process.execPath, [script, '--child', name, '--seeds', seeds]);
    const result = child.stdout.toString().trim() || child.stderr.toString().trim();
    if (!result.startsWith('caught')) process.exitCode = 1;
    console.log(`${name.padEnd(26)} ${rule}\n${' '.repeat(27)}${result.slice(0, 300)}`);
  }
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    child: { type: 'string' },
    seeds: { type: 'string', default: '2000' },
  },
});

if (values.child === undefined) runAll(values.only, values.seeds);
else await runMutant(values.child, Number(values.seeds));
