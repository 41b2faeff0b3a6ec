/** What the schedules of volumes have in common as commands. */
import type { VolumePolicy, VolumeRecord } from '@holdfast/protocol';
import type { Command } from 'commander';
import { type Context, contextOf } from './context.ts';

/** The route of a volume in the admin API. */
export function volumeRoute(volume: string): string {
  return `/v1/volumes/${encodeURIComponent(volume)}`;
}

/** Changes a volume's policy; answers what it is then. NOT_FOUND, BAD_REQUEST. */
export async function changePolicy(
  admin: Context['admin'],
  name: string,
  policy: Partial<VolumePolicy>,
): Promise<VolumeRecord> {
  return (await admin<{ volume: VolumeRecord }>('PATCH', volumeRoute(name), { policy })).volume;
}

/** A kind of schedule, as its commands show and remove it. */
export interface ScheduleKind {
  /** What `show` and `rm` say of themselves. */
  readonly show: string;
  readonly remove: string;
  /** The policy without it. */
  readonly without: Partial<VolumePolicy>;
  /** What is said of a volume that has none any more: "NAME has …". */
  readonly none: string;
  /** For programs. */
  readonly shownOf: (volume: VolumeRecord) => object;
  /** For people. `nowMs`: since the epoch. */
  readonly linesOf: (volume: VolumeRecord, nowMs: number) => string[];
}

/** Adds `show` and `rm`. */
export function addShowAndRemove(schedule: Command, kind: ScheduleKind): void {
  schedule
    .command('show <volume>')
    .description(kind.show)
    .action(async (name: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const { volume } = await admin<{ volume: VolumeRecord }>('GET', volumeRoute(name));
      output.result(kind.shownOf(volume), () => kind.linesOf(volume, Date.now()));
    });
  schedule
    .command('rm <volume>')
    .description(kind.remove)
    .action(async (name: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const volume = await changePolicy(admin, name, kind.without);
      output.result(kind.shownOf(volume), () => [`${name} has ${kind.none}`]);
    });
}
