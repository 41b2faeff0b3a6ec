// Runs the steps of the whole check, or those named, in order, and stops at the first red one.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { STEPS, type Step } from './steps.ts';
import { addTallies, emptyTally, formatTally, TALLY_FILE_VARIABLE, takeTally } from './tally.ts';

const root = join(import.meta.dirname, '..');
const tallyPath = join(root, '.build', `tally-${process.pid}.json`);
/** Between the request to end and the end. */
const graceMs = 10_000;

interface Outcome {
  readonly status: number;
  readonly seconds: number;
  readonly isOverdue: boolean;
}

/** Ends a step with everything it started: it leads a process group of its own. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function runStep(step: Step): Promise<Outcome> {
  const started = performance.now();
  const [program, ...args] = step.command;
  const child = spawn(program, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    env: {
      ...process.env,
      PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH'] ?? ''}`,
      [TALLY_FILE_VARIABLE]: tallyPath,
    },
  });
  const { promise, resolve } = Promise.withResolvers<number>();
  child.on('error', (error) => {
    console.error(`${program} did not start: ${error.message}`);
    resolve(127);
  });
  child.on('exit', (status) => resolve(status ?? 1));

  let isOverdue = false;
  const stop = (): void => {
    signalGroup(child, 'SIGTERM');
    setTimeout(signalGroup, graceMs, child, 'SIGKILL').unref();
  };
  const limit = setTimeout(() => {
    isOverdue = true;
    stop();
  }, step.minutesMax * 60_000);
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const status = await promise;
  clearTimeout(limit);
  process.off('SIGINT', stop).off('SIGTERM', stop);
  // Whatever a red step left behind must not disturb the next one.
  signalGroup(child, 'SIGKILL');
  return { status, seconds: (performance.now() - started) / 1000, isOverdue };
}

function stepsNamed(names: readonly string[]): readonly Step[] {
  const unknown = names.filter((name) => !STEPS.some((step) => step.name === name));
  if (unknown.length > 0) {
    const known = STEPS.map((step) => step.name).join(', ');
    console.error(`unknown step ${unknown.join(', ')}: one of ${known}.`);
    process.exit(2);
  }
  return names.length === 0 ? STEPS : STEPS.filter((step) => names.includes(step.name));
}

let total = emptyTally();
const times: string[] = [];
let failed: string | undefined;

for (const step of stepsNamed(process.argv.slice(2))) {
  console.log(`\n== ${step.title}: ${step.command.join(' ')}`);
  const outcome = await runStep(step);
  const tally = takeTally(tallyPath) ?? emptyTally();
  const isRed = outcome.status !== 0 || tally.failed > 0;
  // A red step always counts, whether or not a test says so.
  if (isRed && tally.failed === 0) tally.failed = 1;
  total = addTallies(total, tally);
  const verdict = outcome.isOverdue ? `over ${step.minutesMax} min` : isRed ? 'red' : 'ok';
  times.push(`   ${step.title.padEnd(30)} ${outcome.seconds.toFixed(1).padStart(7)} s  ${verdict}`);
  console.log(`== ${step.title}: ${verdict} after ${outcome.seconds.toFixed(1)} s`);
  if (isRed) {
    failed = step.title;
    break;
  }
}

console.log(`\n${times.join('\n')}`);
if (failed !== undefined) console.log(`\nstopped at: ${failed}`);
console.log(`\n${formatTally(total)}`);
process.exitCode = failed === undefined ? 0 : 1;
