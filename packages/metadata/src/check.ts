import type { InodeNumber, VolumeNumber } from '@holdfast/protocol';
import { Census } from './check/census.ts';
import { checkChunks, checkContents } from './check/contents.ts';
import { checkNames, type Report } from './check/names.ts';
import { checkTree, checkTrees } from './check/trees.ts';
import { checkVersions } from './check/versions.ts';
import { keyAfter } from './keys.ts';
import type { HeldLock } from './shard-records.ts';
import type { StateSource } from './state.ts';

const SCAN_ENTRIES_MAX = 1024;
/** Above all keys: volume numbers do not reach it. */
const END = Uint8Array.of(0xff, 0xff, 0xff, 0xff);

/**
 * Checks every invariant of a whole state: names and links, parents, contents and chunks, quota,
 * orphans, sessions, locks. Gives what is wrong, one sentence each; nothing when all is well. Needs
 * memory for the whole state: for tests, simulations and shards that are out of service.
 */
export async function check(state: StateSource): Promise<string[]> {
  const census = new Census();
  let from = new Uint8Array();
  for (let found = SCAN_ENTRIES_MAX; found === SCAN_ENTRIES_MAX; ) {
    found = 0;
    for await (const [key, bytes] of state.scan(from, END, SCAN_ENTRIES_MAX)) {
      found++;
      from = Uint8Array.from(keyAfter(key));
      census.add(key, bytes);
    }
  }
  const report: Report = (problem) => void census.problems.push(problem);
  checkVolumes(census, report);
  checkTrees(census, report);
  for (const shadow of census.shadows.keys()) {
    if (census.volumes.get(shadow)?.volume?.isShadow !== true) report(`shadow ${shadow} is gone`);
  }
  checkSessions(census, report);
  checkTables(census, report);
  return census.problems;
}

function checkVolumes(census: Census, report: Report): void {
  for (const [number, found] of census.volumes) {
    const say: Report = (problem) => report(`volume ${number}: ${problem}`);
    const dead = census.deadVolumes.get(number);
    if (found.volume === undefined) {
      if (dead === undefined) say('records of a volume that does not exist');
      if (dead?.empty === true) say('records of a volume that was emptied');
      continue;
    }
    if (dead !== undefined) say('it is alive and destroyed');
    checkVersions(census, found, found.volume, say);
    checkTree(census, found, found.volume, say);
    // What a clone reads through its snapshot is not among its own records; of a closed tree some are gone.
    if (found.volume.baseVolume !== 0 || found.volume.isClosed) {
      checkChunks(census, found, say);
      continue;
    }
    checkNames(census, found, found.volume, say);
    checkContents(census, found, found.volume, say);
  }
}

function checkSessions(census: Census, report: Report): void {
  const open = new Map<number, string>();
  let kept = 0;
  for (const [id, session] of census.sessions) {
    if (session.ended) continue;
    open.set(session.ordinal, id);
    kept += session.kept.length;
    for (const sequence of session.kept) {
      if (!census.answers.has(`${id} ${sequence}`))
        report(`session ${id}: answer ${sequence} lost`);
      if (sequence < session.answeredBelow)
        report(`session ${id}: answer ${sequence} kept too long`);
    }
    if (census.ordinals.get(session.ordinal) !== id)
      report(`session ${id}: its ordinal is not its`);
  }
  if (kept !== census.answers.size) report('answers that no open session keeps');
  const live = census.liveSessions.ordinals;
  const isSame = live.length === open.size && live.every((ordinal) => open.has(ordinal));
  if (!isSame || census.ordinals.size !== open.size) report('the list of open sessions is wrong');
}

/** Tables of the shard against the volumes they speak of. */
function checkTables(census: Census, report: Report): void {
  const exists = (volume: VolumeNumber, ino: InodeNumber): boolean => {
    if (census.deadVolumes.has(volume)) return true;
    const found = census.volumes.get(volume);
    // What a clone reads through its snapshot is not among its own records.
    const { baseVolume = 0, isClosed = false } = found?.volume ?? {};
    return found?.inodes.has(ino) === true || baseVolume !== 0 || isClosed;
  };
  for (const name of [...census.orphans.keys(), ...census.inlineFiles]) {
    const [volume, ino] = name.split(' ').map(Number);
    if (!exists(volume as VolumeNumber, ino as InodeNumber))
      report(`a table names inode ${ino} of volume ${volume}`);
  }
  for (const { at, record } of census.locks) {
    if (!exists(at.subject, at.ino)) report(`locks on inode ${at.ino} of volume ${at.subject}`);
    const inForce = ({ holder }: HeldLock): boolean => census.ordinals.has(holder);
    for (const family of [record.posix, record.flock]) {
      if (hasConflict(family.filter(inForce))) report(`locks on inode ${at.ino} conflict`);
    }
  }
}

function hasConflict(locks: readonly HeldLock[]): boolean {
  return locks.some((a, index) =>
    locks.slice(index + 1).some((b) => {
      if (a.start >= b.end || b.start >= a.end) return false;
      const isSameOwner = a.holder === b.holder && a.owner === b.owner;
      return isSameOwner || a.type === 'write' || b.type === 'write';
    }),
  );
}
