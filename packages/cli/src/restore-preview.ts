/** What a restore would do, told without doing it. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Repository, RestoreCounts } from '@holdfast/backup';
import { DirectorySink, DrySink, VolumeSink } from '@holdfast/tree';
import { lookInto, type RestoreRequest, restoreInto, type WorkReport } from './backup-volume.ts';
import { connectToCluster } from './context.ts';
import { PlaceInVolume, type RestoreTarget } from './restore-over.ts';
import { whyStopped } from './stop-signal.ts';
import { rootOf } from './volume-root.ts';

/**
 * Counts what a restore to a target would write, leave and remove, by names, sizes and times of what is
 * there; with `always` what would be read and compared counts as written. Nothing is changed.
 */
export async function previewRestore(
  repository: Repository,
  {
    request,
    target,
    dataDirectory,
  }: {
    readonly request: RestoreRequest;
    readonly target: RestoreTarget;
    readonly dataDirectory: string;
  },
  report: WorkReport<RestoreCounts>,
): Promise<RestoreCounts> {
  const found = await lookInto(repository, request, report.signal);
  const run = (sink: DrySink): Promise<RestoreCounts> =>
    restoreInto(repository, sink, { request, found }, report).catch((error: unknown) => {
      throw whyStopped(error, report.signal);
    });
  if (target.where === 'host') {
    const directory = resolve(target.directory);
    return run(new DrySink(existsSync(directory) ? new DirectorySink(directory) : undefined));
  }
  const client = await connectToCluster(dataDirectory);
  try {
    const volume = await client.volumes.get(target.volume);
    if (volume === undefined) return await run(new DrySink(undefined));
    const fileSystem = client.fileSystem();
    const { signal } = report;
    const sink = new VolumeSink(fileSystem, await rootOf(fileSystem, target.volume), { signal });
    return await run(new DrySink(new PlaceInVolume(new DrySink(sink), target.names)));
  } finally {
    await client.close();
  }
}
