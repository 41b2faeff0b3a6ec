import type { VolumeNumber } from '@holdfast/protocol';
import type { VolumeRecord } from '../records.ts';
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
  const home = volume.home === 0 ? found.number : volume.home;
  const trees = census.trees.get(home);
  const isFormer = trees?.former.some(({ tree }) => tree === found.number) === true;
  if (volume.isClosed !== isFormer) report('closed, or not, against what its volume says');
  const isPresent = (trees?.present ?? home) === found.number;
  if (!volume.isClosed && !isPresent) report('its volume shows another tree');
  if (!volume.isClosed || census.closedTrees.has(found.number)) return;
  const heads = [
    ...found.inodes.values(),
    ...found.dentries.map(({ record }) => record),
    ...found.listings.values(),
    ...found.xattrs.values(),
    ...found.regions.map(({ record }) => record),
    ...found.blobs.map(({ record }) => record),
  ];
  if (heads.some(({ birth }) => birth > volume.newestPin)) {
    report('a head that no snapshot shows, and nobody deletes');
  }
}
