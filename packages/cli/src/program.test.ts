import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { makeProgram } from './program.ts';

function below(command: Command): Command[] {
  return command.commands.flatMap((sub) => [sub, ...below(sub)]);
}

it('no command has an option of the same name as a global one, which would take it away', async () => {
  const program = await makeProgram();
  const global = new Set(program.options.map(({ long }) => long));
  for (const command of below(program)) {
    const hidden = command.options.filter(({ long }) => global.has(long));
    expect([command.name(), hidden.map(({ flags }) => flags)]).toEqual([command.name(), []]);
  }
});

it('a line loads what it names and nothing else, and is told the same as when all is loaded', async () => {
  const all = await makeProgram();
  for (const command of all.commands) {
    const name = command.name();
    if (name === 'help') continue;
    const words = ['--data', 'status', '--json', '--host=volume', name, '--help'];
    const { commands } = await makeProgram(words);
    expect(commands.length).toBeLessThan(4);
    const found = commands.find((other) => other.name() === name);
    expect(found?.helpInformation()).toBe(command.helpInformation());
  }
});

it.each([[], ['--help'], ['help', 'status'], ['stat'], ['--jsn', 'status'], ['toString']])(
  'the line %j loads all',
  async (...words) => {
    const { commands } = await makeProgram(words);
    expect(commands).toHaveLength((await makeProgram()).commands.length);
  },
);
