import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { makeProgram } from './program.ts';

function below(command: Command): Command[] {
  return command.commands.flatMap((sub) => [sub, ...below(sub)]);
}

it('no command has an option of the same name as a global one, which would take it away', () => {
  const program = makeProgram();
  const global = new Set(program.options.map(({ long }) => long));
  for (const command of below(program)) {
    const hidden = command.options.filter(({ long }) => global.has(long));
    expect([command.name(), hidden.map(({ flags }) => flags)]).toEqual([command.name(), []]);
  }
});
