/** What commands that make and restore backups share. */
import type { ReportDamaged } from '@holdfast/backup';
import { explained, type PlaceOptions } from '../backup-place.ts';
import type { WorkReport } from '../backup-volume.ts';
import type { Output } from '../output.ts';
import { type Done, ProgressLine } from '../progress.ts';
import { stopReason } from '../stop-signal.ts';
import { Warnings } from '../warnings.ts';

/** Characters of an id that are shown: restic's. */
export const ID_SHOWN = 8;

/** Milliseconds to wait for others who work in the repository. */
export function lockWait({ retryLock }: PlaceOptions): number {
  return retryLock * 1_000;
}

/** Warns of backups of which the file cannot be read. */
export function damaged(warnings: Warnings): ReportDamaged {
  return (_, problem) => warnings.say(problem);
}

/** What long work tells, whatever it counts. */
export interface SharedReport extends Omit<WorkReport<never>, 'onProgress'> {
  readonly onDone: (done: Done) => void;
  /** A warning that is about no entry. */
  readonly onNotice: (text: string) => void;
}

/** Long work with progress and warnings; SIGINT and SIGTERM stop it in order. */
export async function working<T>(
  output: Output,
  what: string,
  place: PlaceOptions,
  run: (report: SharedReport) => Promise<T>,
): Promise<T> {
  const line = new ProgressLine(what, output);
  const warnings = new Warnings(output, () => line.end());
  try {
    return await run({
      onExpected: (expected) => line.expect(expected),
      onDone: (done) => line.update(done),
      onWarning: (path, text) => warnings.add(path, text),
      onNotice: (text) => warnings.say(text),
      signal: stopReason((signal) => `stopped by ${signal}; run it again to go on`),
    });
  } catch (error) {
    throw explained(error, place, { isOpen: true });
  } finally {
    line.end();
    warnings.end();
  }
}
