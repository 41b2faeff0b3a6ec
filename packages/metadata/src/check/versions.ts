import type { VolumeNumber } from '@holdfast/protocol';
import { headOfHistory } from '../keys.ts';
import { hasPin } from '../pins.ts';
import type { VolumeRecord } from '../records.ts';
import { type Census, type VolumeCensus, versionName } from './census.ts';
import type { Report } from './names.ts';

/** Snapshots, pins, and versions in history of one volume. */
export function checkVersions(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  checkPins(census, found, volume, report);
  const held = census.clones.get(found.number);
  if (
    (held?.volume ?? 0) !== volume.baseVolume ||
    (held?.generation ?? 0) !== volume.baseGeneration
  ) {
    report('its snapshot does not know it');
  }
  const clones = [...census.clones.values()].filter(({ volume: base }) => base === found.number);
  if (clones.length !== volume.cloneCount) report('its clones are counted wrong');
  const isHeldByNobody = ([clone, { volume: base }]: [VolumeNumber, { volume: number }]): boolean =>
    base === found.number && census.deadVolumes.has(clone);
  if ([...census.clones].some(isHeldByNobody)) report('what is gone has not let go of a snapshot');
  if (found.versions.size !== found.history.length) report('lists of versions differ from history');
  if (found.deaths.size !== found.history.length)
    report('the table of deaths differs from history');
  const marks = census.unpinned.filter(({ volume: other }) => other === found.number);
  for (const { key, record } of found.history) {
    const { head, death } = headOfHistory(key);
    const name = versionName(head, death);
    const say: Report = (problem) => report(`version ${name}: ${problem}`);
    const { birth } = record;
    if (record.death !== death || birth >= death) say('its life is not what its key says');
    if (found.versions.get(name) !== birth) say('the list of versions does not have it');
    if (found.deaths.get(name) !== birth) say('the table of deaths does not have it');
    const isAwaited = marks.some(({ generation }) => birth <= generation && generation < death);
    if (!isAwaited && !hasPin(found.pins, birth, death)) say('no pin sees it, nobody deletes it');
  }
}

function checkPins(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  const { pins, snapshots } = found;
  const isOrdered = pins.every((pin, index) => pin < (pins[index + 1] ?? volume.generation));
  if (!isOrdered) report('its pins are not in order below its generation');
  if ((pins.at(-1) ?? 0) !== volume.newestPin) report('its newest pin is another one');
  if (pins.length !== snapshots.size || !pins.every((pin) => snapshots.has(pin))) {
    report('its pins are not those of its snapshots');
  }
  checkSnapshotNames(census, found, volume, report);
}

/** The names of all snapshots of a volume lie with its present tree. */
function checkSnapshotNames(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  const home = volume.home === 0 ? found.number : volume.home;
  const trees = census.trees.get(home);
  if (trees !== undefined && trees.present !== found.number) {
    if (found.snapshotNames.size > 0) report('names of snapshots are left behind');
    return;
  }
  const all = [found.number, ...(trees?.former ?? []).map(({ tree }) => tree)];
  const named = all.flatMap((tree) => {
    const { snapshots, removedSnapshots } = census.volumeOf(tree);
    return [...snapshots].filter(([pin]) => !removedSnapshots.has(pin));
  });
  const isNamed = named.every(([pin, name]) => found.snapshotNames.get(name) === pin);
  if (!isNamed || found.snapshotNames.size !== named.length) {
    report('names of snapshots are wrong');
  }
}
