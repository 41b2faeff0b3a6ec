import { HoldfastError } from '@holdfast/protocol';
import { Command, Option } from 'commander';

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

type Add = (program: Command) => void;

/** Commands by name, in the order of help. All take longer to load than one mostly takes to run. */
const COMMANDS: Readonly<Record<string, () => Promise<Add>>> = {
  init: async () => (await import('./commands/init.ts')).addInit,
  join: async () => (await import('./commands/join.ts')).addJoin,
  run: async () => (await import('./commands/run.ts')).addRun,
  node: async () => (await import('./commands/node.ts')).addNode,
  mount: async () => (await import('./commands/mount.ts')).addMount,
  umount: async () => (await import('./commands/mount.ts')).addMount,
  'volume-driver': async () => (await import('./commands/volume-driver.ts')).addVolumeDriver,
  status: async () => (await import('./commands/status.ts')).addStatus,
  volume: async () => (await import('./commands/volume.ts')).addVolume,
  snapshot: async () => (await import('./commands/snapshot.ts')).addSnapshot,
  backup: async () => (await import('./commands/backup.ts')).addBackup,
  token: async () => (await import('./commands/token.ts')).addToken,
  certificate: async () => (await import('./commands/certificate.ts')).addCertificate,
  doctor: async () => (await import('./commands/doctor.ts')).addDoctor,
};

/** What loads the command that a line names; all for help, and for what is wrong. */
function loadersOf(words: readonly string[]): readonly (() => Promise<Add>)[] {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    const load = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
    if (load !== undefined) return [load];
    if (word === '--data' || word === '--host') at++;
    else if (word !== '--json' && !/^--(data|host)=/.test(word)) break;
  }
  return Object.values(COMMANDS);
}

/** The version of the command and of everything it starts. */
const VERSION = '0.1.0';

/** The tree of commands, to be run with parseAsync: all, or those that a line of these words needs. */
export async function makeProgram(words: readonly string[] = []): Promise<Command> {
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
  const adds = await Promise.all(loadersOf(words).map((load) => load()));
  for (const add of new Set(adds)) add(program);
  addHelp(program);
  return program;
}
