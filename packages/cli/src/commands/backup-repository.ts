import { readFile } from 'node:fs/promises';
import { initRepository, listLocks, listSnapshots, type Repository } from '@holdfast/backup';
import { loadIdentity } from '@holdfast/client';
import { HoldfastError, type JobRuns, type RepositoryRecord } from '@holdfast/protocol';
import type { Command } from 'commander';
import {
  explained,
  openAt,
  openPlace,
  type PlaceOptions,
  passwordOf,
  placeOf,
  type RepositoryPlace,
  storeOf,
  storeOptionsOf,
  withPlace,
} from '../backup-place.ts';
import { contextOf } from '../context.ts';
import { bytesText, table, timeText } from '../output.ts';
import { parseCount } from '../sizes.ts';
import { Warnings } from '../warnings.ts';
import { addRepair } from './backup-repair.ts';
import { runLines } from './backup-schedule.ts';
import { damaged } from './backup-work.ts';

/** `holdfast backup repo …` */
export function addRepository(backup: Command): void {
  const repository = backup
    .command('repo')
    .description(
      'make repositories, look whether they can be used, repair them, have the cluster know them by name',
    );
  addInit(repository);
  addCheck(repository);
  addRepair(repository);
  addAdd(repository);
  addKnown(repository);
  addUpkeep(repository);
}

/** Where the options say, whatever the cluster knows: for what is not a repository yet, or not known. */
async function givenPlace(options: PlaceOptions): Promise<RepositoryPlace> {
  const password = await passwordOf(options);
  return { place: placeOf(options.repo), password, ...(await storeOptionsOf(options)) };
}

async function initAt(at: RepositoryPlace): Promise<Repository> {
  try {
    return await initRepository({ store: storeOf(at), password: at.password });
  } catch (error) {
    throw explained(error, { repo: at.place });
  }
}

function addInit(repository: Command): void {
  withPlace(repository.command('init'))
    .description('make an empty repository; keep its password well, nothing can be read without it')
    .action(async (options: PlaceOptions, command: Command) => {
      const { config } = await initAt(await givenPlace(options));
      const facts = { repo: options.repo, id: config.id, version: config.version };
      contextOf(command).output.result(facts, () => [
        `repository ${config.id.slice(0, 8)} is made at ${options.repo}`,
      ]);
    });
}

function addCheck(repository: Command): void {
  withPlace(repository.command('check'))
    .description('see that the repository is reached, opens with the password, and who works in it')
    .action(async (options: PlaceOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { repository } = await openPlace(options, dataDirectory);
      const locks = (await listLocks(repository)).map(({ timeNs, ...lock }) => ({
        ...lock,
        since: timeText(timeNs),
      }));
      const warnings = new Warnings(output);
      const backups = (await listSnapshots(repository, undefined, damaged(warnings))).length;
      warnings.end();
      const { id, version } = repository.config;
      output.result({ id, version, backups, locks }, () => [
        `repository ${id.slice(0, 8)}, version ${version}, is fine to use: ${backups} backups`,
        ...locks.map((lock) =>
          !lock.isReadable
            ? `locked by nobody knows whom: locks/${lock.id} is damaged`
            : `${lock.isStale ? 'stale lock' : 'locked'}${lock.exclusive ? ' exclusively' : ''} by process ${lock.pid} of ${lock.username} on ${lock.hostname}, last confirmed at ${lock.since}`,
        ),
      ]);
    });
}

interface AddOptions extends PlaceOptions {
  readonly credentialsFile?: string;
  readonly on?: string;
  readonly init?: boolean;
  readonly replace?: boolean;
}

function addAdd(repository: Command): void {
  withPlace(repository.command('add <name>'))
    .description(
      'have the cluster know a repository by name: --repo NAME then needs no password on peers, and volumes can be backed up into it by schedule',
    )
    .option(
      '--credentials-file <file>',
      "lines such as AWS_SECRET_ACCESS_KEY=…, kept with it; without, each host uses the store's credentials that it has",
    )
    .option(
      '--on <hosts>',
      "names of the peers that may run its schedules, or 'all' (also the default but for directories: this host)",
    )
    .option('--init', 'make the repository if there is none')
    .option('--replace', 'in place of one that is known under the name')
    .action(async (name: string, options: AddOptions, command: Command) => {
      const { admin, dataDirectory, output } = contextOf(command);
      const credentials = await credentialsIn(options.credentialsFile);
      const at = { ...(await givenPlace(options)), credentials };
      const opened = await openOrInit(at, options.init === true);
      const { password, ca, ...rest } = at;
      // The authorities that this host trusts by its environment are its own matter.
      const isNamed = ['s3Ca', 'azureCa'].some(
        (name) => command.getOptionValueSource(name) === 'cli',
      );
      const { repository: known } = await admin<{ repository: RepositoryRecord }>(
        'POST',
        '/v1/repositories',
        {
          ...rest,
          ...(isNamed && ca !== undefined && { ca }),
          name,
          id: opened.config.id,
          hosts: await hostsOf(options, dataDirectory),
          password,
          replace: options.replace === true,
        },
      );
      output.result(known, () => [`repository '${name}' is known: ${known.place}`]);
    });
}

/** Opened before it is known: a wrong password would come to light at night. */
async function openOrInit(at: RepositoryPlace, mayMake: boolean): Promise<Repository> {
  try {
    return await openAt(at);
  } catch (error) {
    const isAbsent = error instanceof HoldfastError && error.code === 'NOT_FOUND';
    if (isAbsent && mayMake) return initAt(at);
    throw error;
  }
}

/** Variables in a file of NAME=VALUE lines, as systemd and docker read them. BAD_CONFIG. */
async function credentialsIn(file: string | undefined): Promise<Record<string, string>> {
  if (file === undefined) return {};
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new HoldfastError('BAD_CONFIG', `--credentials-file: cannot read ${file}`, { cause });
  });
  const lines = text.split(/\r?\n/).filter((line) => !/^\s*(#|$)/.test(line));
  return Object.fromEntries(
    lines.map((line, at) => {
      const [, name, value] = /^\s*([A-Z][A-Z0-9_]*)=(.+?)\s*$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) return [name, value];
      throw new HoldfastError(
        'BAD_CONFIG',
        `--credentials-file: line ${at + 1} that is no comment is not NAME=VALUE`,
      );
    }),
  );
}

/** A directory is taken for this host's alone; what has an address, for everyone's. */
async function hostsOf({ on, repo }: AddOptions, dataDirectory: string): Promise<string[]> {
  if (on === 'all') return [];
  if (on !== undefined) return on.split(',').map((host) => host.trim());
  const isDirectory = placeOf(repo).startsWith('/') || repo.startsWith('local:');
  return isDirectory ? [(await loadIdentity(dataDirectory)).name] : [];
}

function addKnown(repository: Command): void {
  repository
    .command('ls')
    .description('list the repositories that the cluster knows by name')
    .action(async (_options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const path = '/v1/repositories';
      const { repositories } = await admin<{ repositories: RepositoryRecord[] }>('GET', path);
      output.result(repositories, () => table(['NAME', 'PLACE', 'ON'], repositories.map(row)));
    });
  repository
    .command('inspect <name>')
    .description('show what the cluster knows of a repository, but for what opens it')
    .action(async (name: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const path = `/v1/repositories/${encodeURIComponent(name)}`;
      const { repository: known } = await admin<{ repository: RepositoryRecord }>('GET', path);
      output.result(known, () => describe(known));
    });
  repository
    .command('rm <name>')
    .description('have the cluster forget a repository and its password; what is in it stays')
    .action(async (name: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      await admin('DELETE', `/v1/repositories/${encodeURIComponent(name)}`);
      output.result({ removed: name }, () => [`repository '${name}' is forgotten`]);
    });
}

interface UpkeepOptions {
  readonly prune?: string;
  readonly verify?: string;
  readonly verifyParts?: number;
}

function addUpkeep(repository: Command): void {
  const off = (text: string): string => (text === 'none' ? '' : text);
  repository
    .command('schedule <name>')
    .description(
      "have the cluster prune and verify a repository at these times (cron's five fields in UTC, or @daily, @weekly …); without options, show it",
    )
    .option('--prune <cron>', "when space of forgotten backups is given back, or 'none'", off)
    .option('--verify <cron>', "when it is verified, or 'none'", off)
    .option(
      '--verify-parts <count>',
      'each verification reads another of so many parts of the data; 0 (as at first): none',
      parseCount('--verify-parts', 0, 9_999),
    )
    .action(async (name: string, options: UpkeepOptions, command: Command) => {
      const { admin, output } = contextOf(command);
      const { prune, verify, verifyParts } = options;
      const upkeep = {
        ...(prune !== undefined && { pruneSchedule: prune }),
        ...(verify !== undefined && { verifySchedule: verify }),
        ...(verifyParts !== undefined && { verifyParts }),
      };
      const path = `/v1/repositories/${encodeURIComponent(name)}`;
      const { repository: known } = await (Object.keys(upkeep).length === 0
        ? admin<{ repository: RepositoryRecord }>('GET', path)
        : admin<{ repository: RepositoryRecord }>('PATCH', path, upkeep));
      output.result(known, () => upkeepLines(known, Date.now()));
    });
  repository
    .command('run <name> <prune|verify>')
    .description('ask for a run of its schedule at once')
    .action(async (name: string, kind: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      if (kind !== 'prune' && kind !== 'verify')
        throw new HoldfastError('BAD_REQUEST', `say prune or verify, not '${kind}'`);
      await admin('POST', `/v1/repositories/${encodeURIComponent(name)}/${kind}`);
      output.result({ name, kind, asked: true }, () => [`${kind} of '${name}' is due now`]);
    });
}

function upkeepLines(known: RepositoryRecord, nowMs: number): string[] {
  const { pruneSchedule, pruneRuns, verifySchedule, verifyRuns, verifyParts } = known;
  const found = known.lastVerification;
  const lines = (what: string, text: string | undefined, runs: JobRuns | undefined): string[] =>
    text === undefined || runs === undefined
      ? [`${what}: never by the cluster`]
      : [`${what}:`, ...runLines(text, runs, nowMs).map((line) => `  ${line}`)];
  return [
    ...lines('prune', pruneSchedule, pruneRuns),
    ...lines('verify', verifySchedule, verifyRuns),
    ...(verifyParts === 0 ? [] : [`  reads:       one of ${verifyParts} parts in turn`]),
    ...(found === undefined ? [] : [`  found:       ${found.problems} problems, ${found.at}`]),
  ];
}

function hostsText(hosts: readonly string[]): string {
  return hosts.length === 0 ? 'all hosts' : hosts.join(', ');
}

function row({ name, place, hosts }: RepositoryRecord): string[] {
  return [name, place, hostsText(hosts)];
}

function describe(known: RepositoryRecord): string[] {
  const { credentialNames, sendBytesPerSecond, fetchBytesPerSecond } = known;
  const rate = (bytes = 0): string => (bytes === 0 ? 'no limit' : `${bytesText(bytes)}/s`);
  return [
    `name:         ${known.name}`,
    `place:        ${known.place}`,
    `id:           ${known.id}`,
    `works on:     ${hostsText(known.hosts)}`,
    `credentials:  ${credentialNames.length === 0 ? 'those of each host' : credentialNames.join(', ')}`,
    `bandwidth:    ${rate(sendBytesPerSecond)} up, ${rate(fetchBytesPerSecond)} down`,
    `known since:  ${known.createdAt}`,
    ...upkeepLines(known, Date.now()),
  ];
}
