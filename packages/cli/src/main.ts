import { CommanderError } from 'commander';
import { describeFailure, EXIT, exitStatusOf, failureAsJson } from './failures.ts';
import { makeProgram } from './program.ts';

const json = process.argv.includes('--json');

try {
  await makeProgram().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed help or its complaint already.
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    console.error(json ? failureAsJson(error) : `holdfast: ${describeFailure(error)}`);
    process.exitCode = exitStatusOf(error);
  }
}
