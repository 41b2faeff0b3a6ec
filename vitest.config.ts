import { defineConfig } from 'vitest/config';
import { CoverageReporter } from './scripts/coverage-reporter.ts';
import { TallyReporter } from './scripts/tally-reporter.ts';

// Real processes, mounts and engines share one machine: a second try where the machine itself was
// too slow (vitest prints it).
const realParts = {
  hookTimeout: 300_000,
  retry: 1,
};

export default defineConfig({
  test: {
    reporters: ['default', new TallyReporter(), new CoverageReporter()],
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'packages/**/src/**/*.test.ts',
            'scripts/**/*.test.ts',
            'test/{model,simulation,contracts,tidy}/**/*.test.ts',
          ],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          retry: 1,
          // By default one core is left free, which is half of a machine with two.
          maxWorkers: '100%',
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/{cluster,posix,applications}/**/*.test.ts'],
          testTimeout: 420_000,
          ...realParts,
          // Most of their time is spent waiting: for elections, leases, rounds of repair.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'docker',
          include: ['test/docker/**/*.test.ts'],
          testTimeout: 300_000,
          ...realParts,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
    coverage: {
      provider: 'v8',
      include: ['packages/*/src/**/*.ts'],
      exclude: ['**/*.test.ts', '**/index.ts'],
      reporter: ['text-summary'],
    },
  },
});
