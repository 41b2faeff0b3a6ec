/** Cuts: big parts of a file that were cut off in one go and are deleted in slices. */
import type { ContentCut, RegionRecord } from '../records.ts';

type Region = Pick<RegionRecord, 'epoch'>;

/** Whether a cut has made the region's record dead. */
export function isCutOff(cuts: readonly ContentCut[], index: number, region: Region): boolean {
  return cutOffIn(cuts, index, region) < Number.POSITIVE_INFINITY;
}

/** The generation in which the region's record was cut off first; Infinity when it is alive. */
export function cutOffIn(cuts: readonly ContentCut[], index: number, region: Region): number {
  let first = Number.POSITIVE_INFINITY;
  for (const { from, to, epoch, generation } of cuts) {
    if (index >= from && index < to && region.epoch < epoch) first = Math.min(first, generation);
  }
  return first;
}
