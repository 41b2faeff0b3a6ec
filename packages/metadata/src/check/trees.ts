import type { VolumeNumber } from '@holdfast/protocol';
import { tallyOf } from '../content/pieces.ts';
import type { HeadRecord, VolumeRecord } from '../records.ts';
import { SHADOW_GENERATION } from '../shadows.ts';
import type { Census, VolumeCensus } from './census.ts';
import type { Report } from './names.ts';

/** That the trees of each volume are there, closed but for the last, and follow each other. */
export function checkTrees(census: Census, report: Report): void {
  for (const [home, { present, former }] of census.trees) {
    const say: Report = (problem) => report(`trees of volume ${home}: ${problem}`);
    const recordOf = (tree: VolumeNumber): VolumeRecord | undefined =>
      census.volumes.get(tree)?.volume;
    const shown = recordOf(present);
    if (shown === undefined || shown.isClosed) say('the present one is closed or gone');
    let before = 0;
    for (const { tree, last } of former) {
      const record = recordOf(tree);
      if (record?.isClosed !== true) say(`the former one ${tree} is not closed`);
      if (last <= before || record?.generation !== last + 1) say('their generations overlap');
      if ((census.volumes.get(tree)?.pins.length ?? 0) === 0) say(`nothing needs ${tree}`);
      before = last;
    }
    for (const tree of [present, ...former.map((other) => other.tree)]) {
      const record = recordOf(tree);
      if (record !== undefined && (record.home === 0 ? tree : record.home) !== home) {
        say(`tree ${tree} belongs to another volume`);
      }
    }
  }
}

/** What a rollback left behind in one tree. */
export function checkTree(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  if (volume.isShadow) {
    checkShadow(census, found, volume, report);
    return;
  }
  const home = volume.home === 0 ? found.number : volume.home;
  const trees = census.trees.get(home);
  const isFormer = trees?.former.some(({ tree }) => tree === found.number) === true;
  if (volume.isClosed !== isFormer) report('closed, or not, against what its volume says');
  const isPresent = (trees?.present ?? home) === found.number;
  if (!volume.isClosed && !isPresent) report('its volume shows another tree');
  if (!volume.isClosed || census.closedTrees.has(found.number)) return;
  if (headsOf(found).some(({ birth }) => birth > volume.newestPin)) {
    report('a head that no snapshot shows, and nobody deletes');
  }
}

function headsOf(found: VolumeCensus): readonly HeadRecord[] {
  return [
    ...found.inodes.values(),
    ...found.dentries.map(({ record }) => record),
    ...found.listings.values(),
    ...found.xattrs.values(),
    ...found.regions.map(({ record }) => record),
    ...found.blobs.map(({ record }) => record),
  ];
}

/** A copy of a snapshot of another shard: what is there of it, and for whom. */
function checkShadow(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  const shadow = census.shadows.get(found.number);
  if (shadow === undefined) {
    report('a shadow of nothing');
    return;
  }
  if (!volume.isClosed || volume.baseVolume !== 0 || volume.cloneCount !== 1) {
    report('a shadow is closed, rests on nothing, and has one clone');
  }
  const clone = census.volumes.get(shadow.holder)?.volume;
  if (clone?.baseVolume !== found.number) report('its clone does not rest on it');
  const chunksOf = found.regions.flatMap(({ record }) => [...tallyOf(record.pieces).chunks.keys()]);
  if (chunksOf.some((chunk) => !found.lent.has(chunk)))
    report('it shows a chunk that is not known');
  if (found.chunks.size > 0 || found.history.length > 0) report('it counts what is not its own');
  if (headsOf(found).some(({ birth }) => birth !== SHADOW_GENERATION)) {
    report('a record that is not of its generation');
  }
  const numbers = [...found.inodes.keys(), ...found.regions.map(({ at }) => at.ino)];
  if (numbers.some((number) => number >= shadow.nextInode))
    report('it shows a number not given then');
}
