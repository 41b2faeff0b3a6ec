/** Paths of archives that somebody else made. */
import { HoldfastError, LIMITS } from '@holdfast/protocol';
import { isSafeName } from '@holdfast/tree';
import { ARCHIVE_LIMITS } from './limits.ts';

/** A name for people, whatever bytes it has; long ones are cut. */
export function shown(name: string): string {
  const text = Buffer.from(name, 'latin1').toString('utf8');
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}

function refused(path: string, why: string): HoldfastError {
  return new HoldfastError('CORRUPT', `refused: the entry ${shown(path)} ${why}`);
}

/**
 * The names of a path from the root of the tree, none for the root itself. CORRUPT for a path that
 * is absolute or leads up, or that no file system could hold: an honest archive has none.
 */
export function safeNames(path: string): readonly string[] {
  if (path.length > ARCHIVE_LIMITS.pathBytesMax)
    throw refused(path, `has a path of ${path.length} bytes`);
  if (path.startsWith('/'))
    throw refused(path, 'has an absolute name; make the archive with relative ones');
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  for (const name of names) {
    if (name === '..') throw refused(path, "leads out of the tree by '..'");
    if (!isSafeName(name)) throw refused(path, 'has a zero byte in its name');
    if (name.length > LIMITS.nameBytesMax)
      throw refused(path, `has a name of ${name.length} bytes; ${LIMITS.nameBytesMax} are allowed`);
  }
  if (names.length > ARCHIVE_LIMITS.depthMax)
    throw refused(
      path,
      `is ${names.length} directories deep; ${ARCHIVE_LIMITS.depthMax} are allowed`,
    );
  return names;
}
