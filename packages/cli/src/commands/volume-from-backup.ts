import type { BackupSource, VolumePolicy } from '@holdfast/protocol';
import { openPlace, placeFromEnvironment } from '../backup-place.ts';
import { chooseSource, restoreToVolume } from '../backup-volume.ts';
import type { Context } from '../context.ts';
import { connectToCluster } from '../context.ts';
import { bytesText, timeText } from '../output.ts';
import { policyLines } from '../restored-policy.ts';
import { restoring } from './backup-restore.ts';
import { ID_SHOWN, working } from './backup-work.ts';

/** `holdfast volume create --from-backup`: a new volume with the content of a backup, all or nothing. */
export async function createRestored(
  { dataDirectory, output }: Context,
  {
    name,
    source,
    policy,
    withPolicy,
  }: {
    readonly name: string;
    readonly source: BackupSource;
    readonly policy: Partial<VolumePolicy>;
    readonly withPolicy: boolean;
  },
): Promise<void> {
  const place = placeFromEnvironment(source.repository);
  const client = await connectToCluster(dataDirectory);
  try {
    const { repository } = await openPlace(place, dataDirectory);
    const snapshot = await chooseSource(repository, source);
    const wanted = { name, policy, withPolicy, isForNew: true };
    const request = { snapshot, isExact: false, lockWaitMs: 0, ...wanted };
    const { counts, policy: came } = await working(output, `making ${name}`, place, (report) =>
      restoreToVolume(client, repository, request, restoring(report)),
    );
    const { id, timeNs } = snapshot;
    output.result({ name, id, time: timeText(timeNs), ...counts, ...came }, () => [
      `volume ${name} is ready, as backup ${id.slice(0, ID_SHOWN)} has it: ${counts.files} files, ${bytesText(counts.bytesWritten)}`,
      ...policyLines(came),
    ]);
  } finally {
    await client.close();
  }
}
