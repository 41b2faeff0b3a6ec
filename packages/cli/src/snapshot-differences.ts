import type { NamedDifference } from '@holdfast/client';
import type { Attributes } from '@holdfast/protocol';

type Difference = NamedDifference;

/** What `holdfast snapshot diff --json` prints: `was` where it had another name; sizes in bytes. */
interface ShownDifference {
  readonly change: 'created' | 'removed' | 'changed' | 'renamed';
  /** Text; bytes that are no UTF-8 are shown as the replacement character. '.' is the volume's root. */
  readonly path: string;
  readonly was?: string;
  readonly kind: string;
  readonly inode: number;
  /** Whether bytes may differ, not only attributes or names. */
  readonly content: boolean;
  readonly sizeBefore?: number;
  readonly sizeAfter?: number;
}

/** Differences in the order of their paths. */
export function differenceValues(found: readonly Difference[]): readonly ShownDifference[] {
  return found.map(shown).sort((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)));
}

/** The same for people: a sign, the path, and what it was called before. */
export function differenceLines(found: readonly Difference[]): string[] {
  const signs = { created: '+', removed: '-', changed: 'M', renamed: 'R' } as const;
  return differenceValues(found).map(({ change, path, was }) => {
    const before = was === undefined ? '' : `${printable(was)} -> `;
    return `${signs[change]} ${before}${printable(path)}`;
  });
}

function shown(difference: Difference): ShownDifference {
  const { kind: change, ino, pathBefore, pathAfter } = difference;
  const before = change === 'created' ? undefined : difference.before;
  const after = change === 'removed' ? undefined : difference.after;
  const isRenamed = before !== undefined && after !== undefined && pathBefore !== pathAfter;
  return {
    change: isRenamed ? 'renamed' : change,
    path: text(pathAfter ?? pathBefore),
    ...(isRenamed && { was: text(pathBefore) }),
    kind: ((after ?? before) as Attributes).kind,
    inode: ino,
    content: change === 'changed' ? difference.content : true,
    ...(before !== undefined && { sizeBefore: before.size }),
    ...(after !== undefined && { sizeAfter: after.size }),
  };
}

function text(path: string | undefined): string {
  if (path === undefined) return '?'; // changed again while its name was looked for
  return path === '' ? '.' : Buffer.from(path, 'latin1').toString('utf8');
}

/** A path that writes nothing to the terminal beyond its letters. */
function printable(path: string): string {
  return /[\p{Cc}\p{Cf}"\\]/u.test(path) ? JSON.stringify(path) : path;
}
