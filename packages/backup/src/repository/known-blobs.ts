/** Which blobs a backup finds in the repository. */
import type { BlobIndex } from './blob-index.ts';
import { adoptPacks, listPacks, loadIndex, lostPacks } from './load-index.ts';
import type { Repository } from './repository.ts';

/** Tells of damage, in words. */
export type ReportDamage = (problem: string) => void;

/** What need not be sent again. Of packs that are gone or cut off nothing is taken for granted. */
export async function knownBlobs(
  repository: Repository,
  { onDamage = () => {} }: { readonly onDamage?: ReportDamage },
  signal: AbortSignal,
): Promise<{
  readonly index: BlobIndex;
  readonly isDamaged: boolean;
  readonly adoptedPacks: number;
}> {
  let isDamaged = false;
  const tell = (problem: string): void => {
    isDamaged = true;
    onDamage(problem);
  };
  const index = await loadIndex(repository, signal, (_, problem) => tell(problem));
  const stored = await listPacks(repository, signal);
  const adoptedPacks = await adoptPacks(repository, index, stored, signal);
  const lost = lostPacks(index, stored);
  const [first] = lost;
  if (first === undefined) return { index, isDamaged, adoptedPacks };
  const [id, why] = first;
  tell(`${lost.size} packs of the repository are lost, such as ${id} (${why})`);
  return { index: index.without(lost), isDamaged, adoptedPacks };
}
