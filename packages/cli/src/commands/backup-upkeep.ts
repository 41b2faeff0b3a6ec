import {
  listLocks,
  type PruneResult,
  prune,
  type Repository,
  removeLocks,
  type VerifyResult,
  verify,
} from '@holdfast/backup';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { noteVerification, untold, verificationOf } from '../backup-notes.ts';
import { openPlace, type PlaceOptions, withPlace } from '../backup-place.ts';
import { connectToCluster, contextOf, isMember } from '../context.ts';
import { bytesText } from '../output.ts';
import { parseCount } from '../sizes.ts';
import { stopReason } from '../stop-signal.ts';
import { lockWait, working } from './backup-work.ts';

/** Problems that are shown to people; --json has all. */
const PROBLEMS_SHOWN = 20;

interface VerifyCommandOptions extends PlaceOptions {
  readonly readData?: boolean;
  readonly readDataSubset?: { readonly n: number; readonly m: number };
}

function parseSubset(text: string): { n: number; m: number } {
  const [, n, m] = (/^(\d{1,4})\/(\d{1,4})$/.exec(text) ?? []).map(Number);
  if (n === undefined || m === undefined || m < 1 || n < 1 || n > m)
    throw new HoldfastError('BAD_REQUEST', `--read-data-subset is n/m, such as 1/7, not '${text}'`);
  return { n, m };
}

/** `holdfast backup verify` */
export function addVerify(backup: Command): void {
  withPlace(backup.command('verify'))
    .description('see that all of every backup is there; with --read-data that every byte is right')
    .option('--read-data', 'fetch, decrypt and check everything')
    .option('--read-data-subset <n/m>', 'the n-th of m parts: m runs read everything', parseSubset)
    .action(async (options: VerifyCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { repository, place } = await openPlace(options, dataDirectory);
      const result = await working(output, 'verify', options, (report) =>
        verify(repository, {
          readData: options.readData === true ? 'all' : (options.readDataSubset ?? 'none'),
          lockWaitMs: lockWait(options),
          signal: stopReason((signal) => `stopped by ${signal}`),
          onExpected: report.onExpected,
          onProgress: report.onDone,
        }),
      );
      const { snapshots, packs, packsRead, bytesRead, problems } = result;
      await tell(dataDirectory, place, result).catch(untold(output));
      output.result(result, () => [
        ...problems.slice(0, PROBLEMS_SHOWN),
        `${snapshots} backups in ${packs} packs; ${packsRead} of these read, ${bytesText(bytesRead)}; ${problems.length} problems`,
      ]);
      if (problems.length > 0)
        throw new HoldfastError(
          'CORRUPT',
          `the repository is damaged: ${problems.length} problems; 'holdfast backup repo repair${packsRead > 0 ? ' --read-data' : ''}' takes out what is lost, and the next backups then send again what the volumes still hold`,
        );
    });
}

/** Tells the cluster, on a host that belongs to one: a repository can be verified anywhere. */
async function tell(dataDirectory: string, place: string, result: VerifyResult): Promise<void> {
  if (!isMember(dataDirectory)) return;
  const client = await connectToCluster(dataDirectory);
  try {
    await noteVerification(client, place, verificationOf(result, Date.now()));
  } finally {
    await client.close();
  }
}

interface PruneCommandOptions extends PlaceOptions {
  readonly maxUnused?: number;
  readonly dryRun?: boolean;
}

/** Gives back the space of what no backup needs. */
export async function pruneRepository(
  repository: Repository,
  options: PruneCommandOptions,
): Promise<PruneResult> {
  const { maxUnused, dryRun = false, retryLock } = options;
  return prune(repository, {
    ...(maxUnused === undefined ? {} : { maxUnused: maxUnused / 100 }),
    dryRun,
    lockWaitMs: retryLock * 1_000,
    signal: stopReason((signal) => `stopped by ${signal}`),
  });
}

/** `holdfast backup prune` */
export function addPrune(backup: Command): void {
  withPlace(backup.command('prune'))
    .description('give back the space of what no backup needs any more')
    .option(
      '--max-unused <percent>',
      'of a pack that may stay unused, 5 by default',
      parseCount('--max-unused', 0, 100),
    )
    .option('-n, --dry-run', 'only say what would be given back')
    .action(async (options: PruneCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { repository } = await openPlace(options, dataDirectory);
      const result = await pruneRepository(repository, options);
      const { packsRemoved, packsRewritten, bytesFreed, bytesUnused } = result;
      const how = options.dryRun === true ? 'would be given back' : 'given back';
      output.result(result, () => [
        `${bytesText(bytesFreed)} ${how}: ${packsRemoved} packs removed, ${packsRewritten} rewritten; ${bytesText(bytesUnused)} stay unused`,
      ]);
    });
}

/** `holdfast backup unlock` */
export function addUnlock(backup: Command): void {
  withPlace(backup.command('unlock'))
    .description('remove locks of processes that are dead, or silent for 30 minutes')
    .option('--all', 'remove every lock; a backup or prune that still lives then fails')
    .action(async (options: PlaceOptions & { readonly all?: boolean }, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { repository } = await openPlace(options, dataDirectory);
      const removed = await removeLocks(repository, { all: options.all === true });
      const left = (await listLocks(repository)).length;
      output.result({ removed: removed.length, left }, () => [
        `${removed.length} locks removed, ${left} left`,
      ]);
    });
}
