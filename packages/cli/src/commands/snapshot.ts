import { HoldfastError, parseSnapshotName, parseWholeSnapshotName } from '@holdfast/protocol';
import type { Command } from 'commander';
import { between, type CommandOptions, withCommands } from '../command-options.ts';
import { connectToCluster, contextOf } from '../context.ts';
import { table } from '../output.ts';
import { differenceLines, differenceValues } from '../snapshot-differences.ts';
import { listSnapshots, ownText, type ShownSnapshot, snapshotRow } from '../snapshots.ts';
import { stopReason } from '../stop-signal.ts';
import { addCopy } from './snapshot-copy.ts';
import { addRollback } from './snapshot-rollback.ts';
import { addSchedule } from './snapshot-schedule.ts';

/** `holdfast snapshot …` */
export function addSnapshot(program: Command): void {
  const snapshot = program
    .command('snapshot')
    .description(
      'create, list, compare, copy from, roll back to and remove snapshots of volumes, and have them made by a schedule',
    );
  addCreate(snapshot);
  addList(snapshot);
  addRemove(snapshot);
  addDiff(snapshot);
  addCopy(snapshot);
  addRollback(snapshot);
  addSchedule(snapshot);
}

function addCreate(snapshot: Command): void {
  withCommands(snapshot.command('create <volume@name>'), 'no snapshot is taken')
    .description(
      'snapshot a volume at once, whatever its size; without @NAME its time in UTC is its name',
    )
    .action(async (text: string, options: CommandOptions, command: Command) => {
      const { admin, output } = contextOf(command);
      const { volume, name } = parseSnapshotName(text);
      const path = `/v1/volumes/${encodeURIComponent(volume)}/snapshots`;
      const take = (): Promise<{ snapshot: { name: string } }> =>
        admin('POST', path, { ...(name !== undefined && { name }) });
      const signal = (): AbortSignal =>
        stopReason((name) => `stopped by ${name}; no snapshot is taken`);
      const { snapshot: made } = await between(options, { volume, signal }, take);
      output.result(made, () => [`snapshot ${volume}@${made.name} is taken`]);
    });
}

function addList(snapshot: Command): void {
  snapshot
    .command('ls <volume>')
    .description('list the snapshots of a volume and what removing each alone would give back')
    .option('--no-space', 'without what it would give back, which is added up for each')
    .action(async (volume: string, options: { space: boolean }, command: Command) => {
      const { admin, output } = contextOf(command);
      const found = await listSnapshots(admin, volume, {
        isMeasured: options.space,
        onProgress: (line) => output.progress(line),
      });
      output.result(found, () =>
        table(['NAME', 'CREATED', 'BY', 'VOLUME', 'OWN', 'CLONES'], found.map(snapshotRow)),
      );
    });
}

function addRemove(snapshot: Command): void {
  snapshot
    .command('rm <volume@name>')
    .description('remove a snapshot; while it has clones, its space stays with them')
    .action(async (text: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const { volume, name } = parseWholeSnapshotName(text);
      const path = `/v1/volumes/${encodeURIComponent(volume)}/snapshots/${encodeURIComponent(name)}`;
      const { snapshot: gone } = await admin<{ snapshot: ShownSnapshot }>('DELETE', path);
      output.result({ removed: `${volume}@${name}`, clones: gone.clones }, () => [
        `snapshot ${volume}@${name} removed`,
        ...(gone.clones === 0
          ? []
          : [`its space comes back with the last of its ${gone.clones} clones`]),
      ]);
    });
}

function addDiff(snapshot: Command): void {
  snapshot
    .command('diff <volume@older> [volume@newer]')
    .description('show what changed from one snapshot to another, or since it')
    .action(
      async (first: string, second: string | undefined, _options: unknown, command: Command) => {
        const { dataDirectory, output } = contextOf(command);
        const { volume, name: from } = parseWholeSnapshotName(first);
        const to = second === undefined ? undefined : parseWholeSnapshotName(second);
        if (to !== undefined && to.volume !== volume) {
          throw new HoldfastError(
            'BAD_REQUEST',
            `'${first}' and '${second}' are of different volumes: compare two snapshots of one`,
          );
        }
        const client = await connectToCluster(dataDirectory);
        try {
          const span = { from, ...(to !== undefined && { to: to.name }) };
          const found = await client.snapshots.differences(volume, span);
          output.result(differenceValues(found), () => differenceLines(found));
        } finally {
          await client.close();
        }
      },
    );
}

/** What `holdfast volume inspect` says of snapshots. */
export function snapshotLines(found: Awaited<ReturnType<typeof listSnapshots>>): string[] {
  return found.map((snapshot) => {
    const { name, createdAt, clones } = snapshot;
    const own = `${ownText(snapshot)} of its own`;
    return `  @${name}: ${createdAt}, ${own}${clones === 0 ? '' : `, ${clones} clones`}`;
  });
}
