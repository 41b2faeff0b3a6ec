/**
 * Many seeds, or one with its whole story:
 *   node test/simulation/run.ts [--first N] [--count N]   seeds N, N+1, ...; stops at the first failure
 *   node test/simulation/run.ts --seed N [--trace]        one seed
 *   --keep-going                                          report every failing seed
 */
import { parseArgs } from 'node:util';
import { type Outcome, simulate } from './world.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    first: { type: 'string', default: '1' },
    count: { type: 'string', default: '10000' },
    trace: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
  },
});

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name}: '${text}' is not a whole number, 0 or more`);
  process.exit(2);
}

function runOne(seed: number): Outcome | undefined {
  try {
    return simulate(seed, values.trace ? console.log : undefined);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    if (values.trace) console.error(error instanceof Error ? error.cause : error);
    process.exitCode = 1;
    return undefined;
  }
}

function runMany(first: number, count: number): void {
  const totals: Record<string, number> = {};
  let failed = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const outcome = runOne(seed);
    if (outcome) {
      const { terms, entries, reads, counts } = outcome;
      for (const [name, value] of Object.entries({ terms, entries, reads, ...counts })) {
        totals[name] = (totals[name] ?? 0) + value;
      }
    } else {
      failed += 1;
      if (!values['keep-going']) break;
    }
    if ((seed - first + 1) % 1000 === 0)
      console.error(`${seed - first + 1} seeds, ${failed} failed`);
  }
  console.log(JSON.stringify({ first, count, failed, ...totals }));
}

if (values.seed !== undefined) {
  const outcome = runOne(wholeNumber('seed', values.seed));
  if (outcome) console.log(JSON.stringify(outcome));
} else {
  runMany(wholeNumber('first', values.first), wholeNumber('count', values.count));
}
