import { HoldfastError } from '@holdfast/protocol';
import { Command, Option } from 'commander';
import { addBackup } from './commands/backup.ts';
import { addCertificate } from './commands/certificate.ts';
import { addDoctor } from './commands/doctor.ts';
import { addInit } from './commands/init.ts';
import { addJoin } from './commands/join.ts';
import { addMount } from './commands/mount.ts';
import { addNode } from './commands/node.ts';
import { addRun } from './commands/run.ts';
import { addSnapshot } from './commands/snapshot.ts';
import { addStatus } from './commands/status.ts';
import { addToken } from './commands/token.ts';
import { addVolume } from './commands/volume.ts';
import { addVolumeDriver } from './commands/volume-driver.ts';

/** `holdfast help [command...]`; commander's own answers a name it does not know as if there was none. */
function addHelp(program: Command): void {
  program.helpCommand(false);
  program
    .command('help [command...]')
    .description('show what a command does and takes')
    .action((names: string[]) => {
      let found = program;
      for (const name of names) {
        const next = found.commands.find((command) => command.name() === name);
        if (next === undefined) {
          const text = `unknown command '${names.join(' ')}'; see --help`;
          throw new HoldfastError('BAD_REQUEST', text);
        }
        found = next;
      }
      found.help();
    });
}

/** The version of the command and of everything it starts. */
const VERSION = '0.1.0';

/** The whole tree of commands; `run` it with parseAsync. */
export function makeProgram(): Command {
  const program = new Command('holdfast');
  // What a user got wrong on the command line is thrown as well, and printed like every other error.
  program.configureOutput({ outputError: () => {} });
  program
    .description('Keeps the data of containers wherever they are scheduled.')
    .version(VERSION, '-V, --version', 'print the version')
    .addOption(
      new Option('--data <directory>', "this host's data directory")
        .default('/var/lib/holdfast')
        .env('HOLDFAST_DATA'),
    )
    .addOption(
      new Option('--host <host:port>', "another peer's admin API instead of the local one").env(
        'HOLDFAST_HOST',
      ),
    )
    .option('--json', 'print results as JSON')
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  for (const add of [
    addInit,
    addJoin,
    addRun,
    addNode,
    addMount,
    addVolumeDriver,
    addStatus,
    addVolume,
    addSnapshot,
    addBackup,
    addToken,
    addCertificate,
    addDoctor,
  ]) {
    add(program);
  }
  addHelp(program);
  return program;
}
