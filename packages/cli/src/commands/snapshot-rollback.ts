import { parseWholeSnapshotName } from '@holdfast/protocol';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import type { ShownSnapshot } from '../snapshots.ts';

/** `holdfast snapshot rollback` */
export function addRollback(snapshot: Command): void {
  snapshot
    .command('rollback <volume@name>')
    .description(
      'show a volume as a snapshot of it again, at once, whatever its size; what it was until now is kept as a snapshot, and all others stay',
    )
    .option(
      '--force',
      'also while hosts use the volume: files that are open in it then fail with ESTALE until they are opened again',
    )
    .action(
      async (text: string, { force = false }: { readonly force?: boolean }, command: Command) => {
        const { admin, output } = contextOf(command);
        const { volume, name } = parseWholeSnapshotName(text);
        const path = `/v1/volumes/${encodeURIComponent(volume)}/snapshots/${encodeURIComponent(name)}`;
        const { snapshot: kept } = await admin<{ snapshot: ShownSnapshot }>(
          'POST',
          `${path}/rollback`,
          { force },
        );
        output.result({ rolledBackTo: `${volume}@${name}`, kept }, () => [
          `volume ${volume} is what it was in ${volume}@${name}`,
          `what it was until now is kept as ${volume}@${kept.name}`,
        ]);
      },
    );
}
