/** Options of commands that take a snapshot between two commands of the operator. */
import type { Command } from 'commander';
import { parseCount } from './sizes.ts';
import { type SurroundingCommands, surrounded } from './surrounding-commands.ts';

/** What is to be run before and after the snapshot. */
export interface CommandOptions {
  readonly pre?: string;
  readonly post?: string;
  readonly commandWait?: number;
}

const COMMAND_WAIT_S = 60;

/** Adds them. `refused`: what does not come to be when the first fails. */
export function withCommands(command: Command, refused: string): Command {
  return command
    .option(
      '--pre <command>',
      `run this by sh on this host first, such as one that makes a database hold still; when it fails ${refused}`,
    )
    .option('--post <command>', 'run this afterwards, whatever happened before')
    .option(
      '--command-wait <seconds>',
      'how long each of them may take (default 60)',
      parseCount('--command-wait', 1, 3_600),
    );
}

/** The step between the commands, if there are any: see {@link surrounded}. `signal` ends the first. */
export async function between<T>(
  { pre, post, commandWait = COMMAND_WAIT_S }: CommandOptions,
  { volume, signal }: { readonly volume: string; readonly signal: () => AbortSignal },
  step: () => Promise<T>,
): Promise<T> {
  if (pre === undefined && post === undefined) return step();
  const commands: SurroundingCommands = {
    ...(pre !== undefined && { pre }),
    ...(post !== undefined && { post }),
    waitMs: commandWait * 1_000,
    environment: { HOLDFAST_VOLUME: volume },
    signal: signal(),
  };
  return surrounded(commands, step);
}
