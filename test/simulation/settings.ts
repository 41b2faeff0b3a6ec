/** What kind of world a seed makes. Every rate is drawn anew, so that each seed stresses something else. */
import type { GroupLimits } from '@holdfast/raft';
import { TICK } from './clock.ts';
import type { NetworkFaults } from './network.ts';
import type { Random } from './random.ts';

export interface Settings {
  readonly voters: number;
  /** Replicas ever made, first members included. */
  readonly replicasMax: number;
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly leaseReads: boolean;
  readonly limits: Partial<GroupLimits>;
  /** Clocks run between 1 - this and 1 + this. */
  readonly driftMax: number;
  /** Means of exponential delays, in units. */
  readonly turnMean: number;
  readonly flushMean: number;
  readonly slowFlushMean: number;
  readonly applyMean: number;
  readonly slowFlushProbability: number;
  readonly network: NetworkFaults;
  /** Mean units between two of a kind; Infinity: never. */
  readonly every: Readonly<Record<Action, number>>;
}

/** What happens by chance. */
export const ACTIONS = [
  'propose',
  'read',
  'changeMembership',
  'transfer',
  'campaign',
  'compact',
  'unreachable',
  'crash',
  'restart',
  'crashAll',
  'pause',
  'cut',
  'mend',
  'coup',
  'lateTransfer',
  'lonelyChange',
] as const;
export type Action = (typeof ACTIONS)[number];

export function drawSettings(random: Random): Settings {
  const rarely = (mean: number, probability = 0.6) =>
    random.chance(probability) ? mean * (0.3 + 2 * random.unit()) * TICK : Number.POSITIVE_INFINITY;
  const often = (mean: number) => rarely(mean, 1);
  // A storm: hardly a leader lives to see its entries committed.
  const isStorm = random.chance(0.2);
  const voters = random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]);
  return {
    voters,
    replicasMax: voters + random.between(0, 4),
    electionTicks: random.pick([4, 6, 10, 10, 15]),
    heartbeatTicks: random.pick([1, 1, 2]),
    leaseReads: random.chance(0.7),
    limits: drawLimits(random),
    driftMax: random.chance(0.5) ? 0.1 : 0,
    turnMean: random.pick([0, 5, 20]),
    flushMean: random.pick([0, 10, 50, 150]),
    slowFlushMean: 8 * TICK,
    applyMean: random.pick([0, 10, 100]),
    slowFlushProbability: random.pick([0, 0.01, 0.1]),
    network: drawNetwork(random),
    every: {
      propose: often(0.7),
      read: often(1),
      changeMembership: rarely(20),
      transfer: rarely(30),
      campaign: rarely(15, 0.3),
      compact: rarely(20, 0.7),
      unreachable: rarely(10),
      crash: isStorm ? often(6) : rarely(15, 0.8),
      restart: often(isStorm ? 3 : 8),
      crashAll: rarely(200, 0.3),
      pause: rarely(isStorm ? 10 : 25),
      cut: rarely(15, 0.8),
      mend: often(15),
      coup: rarely(35, 0.4),
      lateTransfer: rarely(35, 0.4),
      lonelyChange: rarely(60, 0.3),
    },
  };
}

function drawLimits(random: Random): Partial<GroupLimits> {
  return {
    messageBytesMax: random.pick([1, 100, 1000, 1_000_000]),
    inflightMessagesMax: random.pick([1, 2, 8, 128]),
    inflightBytesMax: random.pick([100, 1000, 1_000_000]),
    uncommittedBytesMax: random.pick([500, 5000, 1_000_000]),
    applyingBytesMax: random.pick([1, 300, 1_000_000]),
    readsMax: random.pick([2, 1000]),
  };
}

function drawNetwork(random: Random): NetworkFaults {
  return {
    lossProbability: random.pick([0, 0.02, 0.1, 0.3]),
    repeatProbability: random.pick([0, 0.05, 0.3]),
    delayMean: random.pick([5, 20, 60, 200]),
    lateProbability: random.pick([0, 0.01, 0.05]),
    lateMean: random.pick([10, 40]) * TICK,
    isUneven: random.chance(0.3),
  };
}

/** The same world with disks and processes that keep pace. */
export function calmed(settings: Settings): Settings {
  const { every } = settings;
  return {
    ...settings,
    flushMean: Math.min(settings.flushMean, 10),
    slowFlushProbability: 0,
    applyMean: 0,
    every: { ...every, propose: Math.max(every.propose, 2 * TICK) },
  };
}
