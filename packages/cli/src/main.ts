import { HoldfastError } from '@holdfast/protocol';
import { CommanderError } from 'commander';
import { asKnown, describeFailure, EXIT, exitStatusOf, failureAsJson } from './failures.ts';
import { makeProgram } from './program.ts';

const json = process.argv.includes('--json');

try {
  const program = await makeProgram(process.argv.slice(2));
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError && isHelp(error)) {
    // Printed already: asked for it is an answer, in place of a command that is missing it is not.
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  } else {
    const known = error instanceof CommanderError ? usageError(error) : asKnown(error);
    console.error(json ? failureAsJson(known) : `holdfast: ${describeFailure(known)}`);
    process.exitCode = exitStatusOf(known);
  }
}

function isHelp({ code }: CommanderError): boolean {
  return ['commander.help', 'commander.helpDisplayed', 'commander.version'].includes(code);
}

/** Commander's complaint in one line, in the words of all other errors. */
function usageError({ message }: CommanderError): HoldfastError {
  const text = message
    .replace(/^error: /, '')
    .replace(/\.$/, '')
    .replaceAll('\n', ' ');
  return new HoldfastError('BAD_REQUEST', `${text}; see --help`);
}
