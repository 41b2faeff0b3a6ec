/** One step of the whole check. */
export interface Step {
  readonly name: string;
  /** Shown while it runs. */
  readonly title: string;
  /** Program and arguments, from the root of the tree; programs come from node_modules/.bin. */
  readonly command: readonly [string, ...string[]];
  /** Beyond this the step and everything it started is ended, and the check is red. */
  readonly minutesMax: number;
  /** Whether it is a vitest run that leaves a tally. */
  readonly isTestRun: boolean;
}

function testRun(name: string, title: string, minutesMax: number, ...flags: string[]): Step {
  const command = ['vitest', 'run', '--project', name, ...flags] as const;
  return { name, title, command, minutesMax, isTestRun: true };
}

function check(name: string, title: string, ...command: [string, ...string[]]): Step {
  return { name, title, command, minutesMax: 3, isTestRun: false };
}

/** Everything `npm test` does, cheapest first. The limits catch what hangs; a run takes a fraction of them. */
export const STEPS: readonly Step[] = [
  check('typecheck', 'types', 'tsc', '-b'),
  check('format', 'format and lint', 'biome', 'check', '--error-on-warnings', '.'),
  check(
    'lint',
    'lint with types',
    'oxlint',
    '--type-aware',
    '--report-unused-disable-directives',
    '--deny-warnings',
  ),
  check('knip', 'unused code and dependencies', 'knip', '--no-progress', '--no-config-hints'),
  testRun('unit', 'unit tests', 15),
  testRun('cluster', 'cluster tests', 35),
  testRun('docker', 'Docker tests', 15),
];
