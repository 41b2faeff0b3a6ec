import process from 'node:process';
import type {
  Reporter,
  SerializedError,
  TestCase,
  TestModule,
  TestRunEndReason,
  Vitest,
} from 'vitest/node';
import { emptyTally, TALLY_FILE_VARIABLE, writeTally } from './tally.ts';

/**
 * A vitest reporter that counts, and lets no test be skipped silently: every skipped test is named
 * with its reason (`context.skip('reason')`); without a reason, or where CI is set, the run fails.
 */
export class TallyReporter implements Reporter {
  #isFiltered = false;

  onInit(vitest: Vitest): void {
    // `-t NAME` skips all others on purpose.
    this.#isFiltered = vitest.getGlobalTestNamePattern() !== undefined;
  }

  onTestRunEnd(
    modules: readonly TestModule[],
    unhandled: readonly SerializedError[],
    reason: TestRunEndReason,
  ): void {
    const tally = emptyTally();
    const skipped: TestCase[] = [];
    tally.failed += unhandled.length;
    for (const module of modules) {
      if (module.errors().length > 0) tally.failed += 1;
      for (const suite of module.children.allSuites()) tally.failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const state = test.result().state;
        if (state === 'passed') tally.passed += 1;
        else if (state === 'failed') tally.failed += 1;
        else skipped.push(test);
      }
    }
    tally.skipped = skipped.length;
    if (reason !== 'passed' && tally.failed === 0) tally.failed = 1;
    if (!this.#isFiltered && isRefused(skipped)) {
      tally.failed += skipped.length;
      tally.skipped = 0;
      process.exitCode = 1;
    }
    const path = process.env[TALLY_FILE_VARIABLE];
    if (path !== undefined) writeTally(path, tally);
  }
}

/** Tells the skipped tests; true if the run must fail for them. */
function isRefused(skipped: readonly TestCase[]): boolean {
  const isCi = Boolean(process.env['CI']);
  let refused = false;
  for (const test of skipped) {
    const note = reasonOf(test);
    console.error(
      `not run: ${test.module.relativeModuleId} > ${test.fullName}: ${note ?? 'no reason'}`,
    );
    if (isCi || note === undefined) refused = true;
  }
  if (refused)
    console.error(
      isCi
        ? 'A test that does not run is a failure in CI.'
        : "A test is skipped with a reason or not at all: context.skip('reason').",
    );
  return refused;
}

function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  return result.state === 'skipped' ? result.note : undefined;
}
