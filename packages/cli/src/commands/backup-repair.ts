import { type RepairResult, repair } from '@holdfast/backup';
import type { Command } from 'commander';
import { openPlace, type PlaceOptions, withPlace } from '../backup-place.ts';
import { contextOf } from '../context.ts';
import { stopReason } from '../stop-signal.ts';

interface RepairCommandOptions extends PlaceOptions {
  readonly readData?: boolean;
}

/** `holdfast backup repo repair` */
export function addRepair(repository: Command): void {
  withPlace(repository.command('repair'))
    .description(
      'after damage: make the indexes say what there is, and take out what is lost, so that the next backups send it again',
    )
    .option('--read-data', 'read every pack, to find and take out wrong bytes as well')
    .action(async (options: RepairCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const { repository } = await openPlace(options, dataDirectory);
      const result = await repair(repository, {
        readData: options.readData === true,
        lockWaitMs: options.retryLock * 1_000,
        signal: stopReason((signal) => `stopped by ${signal}; run it again`),
      });
      output.result(result, () => repairLines(result));
    });
}

function repairLines(result: RepairResult): string[] {
  const { indexesDamaged, packsFound, packsGone, packsDamaged, blobsSaved, blobsLost } = result;
  const changes = indexesDamaged + packsFound + packsGone + packsDamaged;
  if (changes === 0) return ['nothing to repair'];
  return [
    `${indexesDamaged} damaged indexes made anew, ${packsFound} packs listed again`,
    `${packsGone} packs are gone; ${packsDamaged} were damaged and removed, ${blobsSaved} blobs copied out of them`,
    blobsLost === 0
      ? 'nothing is lost'
      : `${blobsLost} blobs are lost: the next 'holdfast backup create' of each volume reads everything and sends again what it still holds; 'holdfast backup verify' then names what earlier backups lack`,
  ];
}
