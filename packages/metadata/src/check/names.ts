import { ACL_BIT, ACL_XATTR, aclBitOf, type InodeNumber, ROOT_INODE } from '@holdfast/protocol';
import type { InodeRecord, VolumeRecord } from '../records.ts';
import type { Xattrs } from '../xattr-entries.ts';
import { type Census, isBorn, type VolumeCensus } from './census.ts';

/** Reports a broken invariant of one volume. */
export type Report = (problem: string) => void;

/** Names, links, parents, orphans and use of inodes of one volume. */
export function checkNames(
  census: Census,
  found: VolumeCensus,
  volume: VolumeRecord,
  report: Report,
): void {
  const { names, directories } = countNames(found, report);
  for (const [ino, inode] of found.inodes) {
    const say: Report = (problem) => report(`inode ${ino}: ${problem}`);
    if (!isBorn(inode, volume)) say('it was born in a generation still to come');
    if (ino >= volume.nextInode) say('its number was not given yet');
    const links = { ino, inode, names: names.get(ino) ?? [], below: directories.get(ino) ?? 0 };
    checkLinks(census, found, links, say);
    if (inode.kind === 'directory') checkParents(found, ino, inode, say);
    if (volume.baseVolume === 0) checkAcls(inode, found.xattrs.get(ino)?.entries ?? [], say);
  }
  for (const ino of found.xattrs.keys()) {
    if (!found.inodes.has(ino)) report(`extended attributes of inode ${ino}, which is gone`);
  }
  checkOrphans(found, volume, report);
  if (volume.usedInodes !== found.inodes.size) {
    report(`${volume.usedInodes} inodes counted, ${found.inodes.size} there`);
  }
}

/** Of a clone, extended attributes may lie with what it was made of. */
function checkAcls({ acls, kind }: InodeRecord, entries: Xattrs, say: Report): void {
  for (const name of Object.values(ACL_XATTR)) {
    const isThere = entries.some((entry) => entry[0] === name);
    if ((acls & aclBitOf(name)) !== 0 && !isThere) say(`its ${name} is not there`);
  }
  if ((acls & ACL_BIT.default) !== 0 && kind !== 'directory') say('a default ACL of no directory');
}

function checkOrphans(found: VolumeCensus, volume: VolumeRecord, report: Report): void {
  const orphans = [...found.inodes.values()].filter(({ unlinked }) => unlinked > 0);
  const bytes = orphans.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
  if (volume.orphanInodes !== orphans.length || volume.orphanBytes !== bytes) {
    report('what orphans use is counted wrong');
  }
  if (orphans.some(({ nlink }) => nlink > 0)) report('an inode with names is unlinked');
}

interface Names {
  /** Directories that name an inode, by inode. */
  readonly names: ReadonlyMap<InodeNumber, InodeNumber[]>;
  /** Number of directories in a directory, by inode. */
  readonly directories: ReadonlyMap<InodeNumber, number>;
}

/** Checks each name against its directory and the listing. */
function countNames(found: VolumeCensus, report: Report): Names {
  const names = new Map<InodeNumber, InodeNumber[]>();
  const directories = new Map<InodeNumber, number>();
  const children = new Map<InodeNumber, number>();
  for (const { at, name, record } of found.dentries) {
    const say: Report = (problem) => report(`name '${name}' in inode ${at.ino}: ${problem}`);
    const parent = found.inodes.get(at.ino);
    if (parent === undefined || parent.kind !== 'directory') say('there is no such directory');
    else if (parent.nlink === 0) say('the directory was removed');
    else if (record.cookie >= parent.nextCookie) say('its cookie was not given yet');
    if (!found.inodes.has(record.ino)) say(`inode ${record.ino} is gone`);
    const listing = found.listings.get(`${at.ino} ${record.cookie}`);
    if (listing?.name !== name || listing.ino !== record.ino) say('the listing differs');
    names.set(record.ino, [...(names.get(record.ino) ?? []), at.ino]);
    children.set(at.ino, (children.get(at.ino) ?? 0) + 1);
    const isDirectory = found.inodes.get(record.ino)?.kind === 'directory';
    if (isDirectory) directories.set(at.ino, (directories.get(at.ino) ?? 0) + 1);
  }
  if (found.listings.size !== found.dentries.length) report('listings and names differ in number');
  for (const [ino, inode] of found.inodes) {
    const there = children.get(ino) ?? 0;
    if (inode.children !== there)
      report(`inode ${ino}: ${inode.children} children, ${there} there`);
  }
  return { names, directories };
}

interface Links {
  readonly ino: InodeNumber;
  readonly inode: InodeRecord;
  readonly names: readonly InodeNumber[];
  /** Directories in it. */
  readonly below: number;
}

function checkLinks(census: Census, found: VolumeCensus, links: Links, say: Report): void {
  const { ino, inode, names, below } = links;
  const orphan = census.orphans.get(`${found.number} ${ino}`);
  if (orphan?.holders.length === 0) say('an orphan that nobody holds');
  if ((inode.nlink === 0) !== (orphan !== undefined)) say('without links means orphan');
  if (inode.kind !== 'directory') {
    const isPlaced = inode.nlink === 1 && inode.parent !== 0;
    if (isPlaced && inode.parent !== names[0]) say('its parent is not where its name is');
    if (inode.nlink !== names.length) say(`${inode.nlink} links, ${names.length} names`);
    return;
  }
  const isNamed = ino === ROOT_INODE || names.length === 1;
  if (inode.nlink === 0 ? names.length > 0 : !isNamed) say(`a directory of ${names.length} names`);
  if (inode.nlink === 0) return;
  if (ino !== ROOT_INODE && inode.parent !== names[0]) say('its parent is not where its name is');
  if (inode.nlink !== 2 + below) say(`${inode.nlink} links, ${below} directories`);
}

function checkParents(
  found: VolumeCensus,
  ino: InodeNumber,
  inode: InodeRecord,
  say: Report,
): void {
  if (inode.nlink === 0) return;
  let at: InodeNumber = ino;
  for (let depth = 0; depth <= found.inodes.size; depth++) {
    if (at === ROOT_INODE) return;
    const parent = found.inodes.get(at)?.parent;
    if (parent === undefined) break;
    at = parent;
  }
  say('its parents do not lead to the root');
}
