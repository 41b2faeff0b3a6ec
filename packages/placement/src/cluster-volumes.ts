/** Operations of the registry on volumes. */
import {
  backupSourceText,
  type ShardId,
  type SnapshotRuns,
  SYSTEM_SHARD,
  type VolumeNumber,
  type VolumeOrigin,
  type VolumePolicy,
  type VolumeRecord,
} from '@holdfast/protocol';
import { REGISTRY_LIMITS, type RegistryResult } from './cluster-commands.ts';
import { runsAnew as backupRunsAnew, runsOf } from './cluster-jobs.ts';
import {
  checkNodeName,
  checkVolumeName,
  completePolicy,
  DEFAULT_POLICY,
  samePolicy,
} from './cluster-names.ts';
import type { ChangeOf } from './cluster-nodes.ts';
import type { ClusterRecords, StoredVolume } from './cluster-records.ts';
import {
  beginRestore,
  refuseSource,
  restoreAgain,
  sameSource,
  whyNotFilled,
} from './cluster-restores.ts';
import { changed, done, refuse, unchanged } from './registry-results.ts';

/** Clones that a refusal names. */
const CLONES_SHOWN = 8;

/** See the change's own description; likewise all below. `time` is the command's, ISO 8601. */
export function createVolume(
  records: ClusterRecords,
  change: ChangeOf<'create-volume'>,
  time: string,
): RegistryResult {
  const wrong = checkVolumeName(change.name);
  if (wrong !== undefined) return refuse(nameCode(change.name), wrong);
  const existing = records.volumeNamed(change.name);
  if (existing !== undefined) return createAgain(records, existing, change, time);
  const parent = change.from === undefined ? undefined : records.volumes.get(change.from.volume);
  const policy = completePolicy(change.policy, parent && inheritedFrom(parent));
  if (typeof policy === 'string') return refuse('BAD_REQUEST', policy);
  const refusal =
    refuseSource(records, change) ??
    unknownRepository(records, policy) ??
    (change.from === undefined ? undefined : checkParent(parent, change));
  if (refusal !== undefined) return refusal;
  const shard = change.shard ?? chosenShard(records, parent?.record.shard);
  if (change.shard !== undefined && !volumeShards(records).has(change.shard)) {
    return noShard(records, change.shard);
  }
  const { nextVolume } = records.present;
  if (records.volumes.size >= REGISTRY_LIMITS.volumesMax) {
    return refuse('CONFLICT', `a cluster has at most ${REGISTRY_LIMITS.volumesMax} volumes`);
  }
  const record: VolumeRecord = {
    number: nextVolume,
    name: change.name,
    shard,
    policy,
    state: 'creating',
    createdAt: time,
    attachedTo: [],
    ...(policy.snapshotSchedule !== undefined && { snapshotRuns: { since: time } }),
    ...(policy.backupSchedule !== undefined && { backupRuns: backupRunsAnew(undefined, time) }),
    ...(change.from !== undefined &&
      parent !== undefined && { from: originIn(shard, change.from, parent.record) }),
    ...(change.restore !== undefined && {
      restore: beginRestore(change.restore, change.policy, time),
    }),
  };
  records.setCluster({ nextVolume: (nextVolume + 1) as VolumeNumber });
  records.putVolume({ record });
  return done({ volume: record });
}

/** Names the shard of the snapshot where the clone is in another. */
function originIn(
  shard: ShardId,
  from: Omit<VolumeOrigin, 'volumeName' | 'shard'>,
  parent: VolumeRecord,
): VolumeOrigin {
  const isAfar = shard !== parent.shard;
  return { ...from, volumeName: parent.name, ...(isAfar && { shard: parent.shard }) };
}

/** What stands in the way of a clone of this volume. */
function checkParent(
  parent: StoredVolume | undefined,
  { from, policy }: ChangeOf<'create-volume'>,
): RegistryResult | undefined {
  if (parent === undefined) return noVolume(`number ${from?.volume}`);
  const { name, state } = parent.record;
  if (state !== 'ready' || parent.removal !== undefined) {
    return refuse(
      'CONFLICT',
      `volume '${name}' is ${state === 'creating' ? 'being made' : 'being removed'}`,
    );
  }
  const unfilled = whyNotFilled(parent.record);
  if (unfilled !== undefined) return refuse('CONFLICT', unfilled);
  const fixed = (['uid', 'gid', 'mode'] as const).filter((key) => policy[key] !== undefined);
  if (fixed.length === 0) return undefined;
  return refuse(
    'BAD_REQUEST',
    `a clone's root has the owner and mode of the snapshot: leave out ${fixed.join(', ')}, and use chown and chmod on it`,
  );
}

function nameCode(name: string): 'ENAMETOOLONG' | 'EINVAL' {
  return name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL';
}

/** What a clone has unless it is asked for: no schedule of snapshots, no backups. */
function inheritedFrom(parent: StoredVolume): VolumePolicy {
  const {
    snapshotSchedule: _schedule,
    snapshotKeep: _keep,
    backupPeriodMs: _period,
    backupSchedule: _backups,
    backupRepository: _repository,
    backupKeep: _backupKeep,
    ...rest
  } = parent.record.policy;
  return rest;
}

/** Schedules and periods are changed in a volume's life: only what is asked for must be what it has. */
function createAgain(
  records: ClusterRecords,
  existing: StoredVolume,
  { policy: asked, from, restore: wish, shard }: ChangeOf<'create-volume'>,
  time: string,
): RegistryResult {
  const { name, policy: present, from: origin, restore } = existing.record;
  const { snapshotSchedule, snapshotKeep, backupPeriodMs } = present;
  const { backupSchedule, backupRepository, backupKeep } = present;
  const base = {
    // A clone or a restored volume that was asked for without options has what its source had then.
    ...(origin === undefined && restore === undefined ? DEFAULT_POLICY : present),
    ...(snapshotSchedule !== undefined && { snapshotSchedule }),
    ...(snapshotKeep !== undefined && { snapshotKeep }),
    ...(backupPeriodMs !== undefined && { backupPeriodMs }),
    ...(backupSchedule !== undefined && { backupSchedule }),
    ...(backupRepository !== undefined && { backupRepository }),
    ...(backupKeep !== undefined && { backupKeep }),
  };
  const policy = completePolicy(asked, base);
  if (typeof policy === 'string') return refuse('BAD_REQUEST', policy);
  if (existing.removal !== undefined) {
    return refuse('CONFLICT', `volume '${name}' is being removed; try again when it is gone`);
  }
  if (origin?.volume !== from?.volume || origin?.snapshot !== from?.snapshot) {
    const is =
      origin === undefined
        ? 'not as a clone'
        : `as a clone of ${origin.volumeName}@${origin.snapshot}`;
    return refuse('CONFLICT', `volume '${name}' exists, ${is}`);
  }
  if (shard !== undefined && shard !== existing.record.shard) {
    return refuse('CONFLICT', `volume '${name}' exists, in shard ${existing.record.shard}`);
  }
  if (!sameSource(restore?.source, wish?.source)) {
    const is = restore === undefined ? 'no backup' : backupSourceText(restore.source);
    return refuse('CONFLICT', `volume '${name}' exists, made from ${is}`);
  }
  const again = restoreAgain(existing.record, time);
  if (again !== undefined) {
    records.putVolume({ record: again });
    return done({ volume: again });
  }
  if (samePolicy(present, policy)) return unchanged({ volume: existing.record });
  return refuse('CONFLICT', `volume '${name}' exists with other options`, {
    policy: present,
  });
}

/** Volumes of each volume shard. */
function volumeShards(records: ClusterRecords): Map<ShardId, number> {
  const counts = new Map<ShardId, number>();
  for (const shard of records.shards.keys()) if (shard !== SYSTEM_SHARD) counts.set(shard, 0);
  for (const { record } of records.volumes.values()) {
    counts.set(record.shard, (counts.get(record.shard) ?? 0) + 1);
  }
  return counts;
}

function noShard(records: ClusterRecords, shard: ShardId): RegistryResult {
  const there = [...volumeShards(records).keys()].sort((a, b) => a - b).join(', ');
  return refuse('BAD_REQUEST', `there is no volume shard ${shard}: there are ${there}`);
}

/**
 * The volume shard with the fewest volumes, so that leaders share the work. A clone lies in the shard of
 * its snapshot, which costs least, unless that has very many more.
 */
function chosenShard(records: ClusterRecords, parent: ShardId | undefined): ShardId {
  const counts = volumeShards(records);
  const [first] = [...counts].sort(([a, countA], [b, countB]) => countA - countB || a - b);
  const [emptiest, fewest] = first ?? [SYSTEM_SHARD, 0];
  if (parent === undefined) return emptiest;
  const { crowdedTimes, crowdedVolumes } = REGISTRY_LIMITS;
  const isCrowded = (counts.get(parent) ?? 0) > fewest * crowdedTimes + crowdedVolumes;
  return isCrowded ? emptiest : parent;
}

export function cancelCreate(
  records: ClusterRecords,
  change: ChangeOf<'cancel-create'>,
): RegistryResult {
  const volume = records.volumes.get(change.volume);
  if (volume === undefined) return unchanged();
  if (volume.record.state !== 'creating') return unchanged({ volume: volume.record });
  return replace(records, volume, { state: 'removing' });
}

export function volumeReady(
  records: ClusterRecords,
  change: ChangeOf<'volume-ready'>,
): RegistryResult {
  const volume = records.volumes.get(change.volume);
  if (volume === undefined) return noVolume(`number ${change.volume}`);
  if (volume.record.state !== 'creating') return unchanged({ volume: volume.record });
  return replace(records, volume, { state: 'ready' });
}

export function beginRemove(
  records: ClusterRecords,
  change: ChangeOf<'begin-remove'>,
): RegistryResult {
  const volume = records.volumeNamed(change.name);
  if (volume === undefined) return noVolume(`'${change.name}'`);
  const { record } = volume;
  if (record.state === 'creating') {
    return refuse('CONFLICT', `volume '${record.name}' is still being made; try again in a moment`);
  }
  if (record.attachedTo.length > 0) {
    const hosts = record.attachedTo.join(', ');
    return refuse(
      'CONFLICT',
      `volume '${record.name}' is in use on ${hosts}; stop what uses it first`,
      {
        attachedTo: record.attachedTo,
      },
    );
  }
  const clones = clonesOf(records, record.number);
  if (clones.length > 0) {
    const shown = clones.slice(0, CLONES_SHOWN).join(', ');
    const more = clones.length > CLONES_SHOWN ? ` and ${clones.length - CLONES_SHOWN} more` : '';
    return refuse(
      'EBUSY',
      `volume '${record.name}' has clones that show its data: remove them first (${shown}${more})`,
      { clones: clones.slice(0, CLONES_SHOWN) },
    );
  }
  // Nobody has ever seen what is in one that is not filled.
  const isUnfilled = whyNotFilled(record) !== undefined;
  const force = change.force || volume.removal?.force === true || isUnfilled;
  if (volume.removal?.force === force) {
    return unchanged({ volume: record });
  }
  records.putVolume({ record, removal: { force } });
  return done({ volume: record });
}

/** Names of the volumes that were cloned from one and exist. */
function clonesOf(records: ClusterRecords, volume: VolumeNumber): string[] {
  return records.volumes
    .values()
    .filter(({ record: { from, state } }) => {
      // One elsewhere has let go when the registry has forgotten it.
      return from?.volume === volume && (state !== 'removing' || from.shard !== undefined);
    })
    .map(({ record }) => record.name)
    .toArray();
}

export function cancelRemove(
  records: ClusterRecords,
  change: ChangeOf<'cancel-remove'>,
): RegistryResult {
  const volume = records.volumes.get(change.volume);
  if (volume === undefined) return noVolume(`number ${change.volume}`);
  if (volume.removal === undefined || volume.record.state === 'removing') {
    return unchanged({ volume: volume.record });
  }
  records.putVolume({ record: volume.record });
  return done({ volume: volume.record });
}

export function volumeDestroyed(
  records: ClusterRecords,
  change: ChangeOf<'volume-destroyed'>,
): RegistryResult {
  const volume = records.volumes.get(change.volume);
  if (volume === undefined || volume.record.state === 'removing') return unchanged();
  return replace(records, volume, { state: 'removing' });
}

export function finishRemove(
  records: ClusterRecords,
  change: ChangeOf<'finish-remove'>,
): RegistryResult {
  const volume = records.volumes.get(change.volume);
  if (volume === undefined) return unchanged();
  if (volume.record.state !== 'removing') {
    return refuse('CONFLICT', `volume '${volume.record.name}' is not being removed`);
  }
  records.deleteVolume(volume);
  return changed();
}

export function attach(records: ClusterRecords, change: ChangeOf<'attach'>): RegistryResult {
  const volume = records.volumeNamed(change.name);
  if (volume === undefined) return noVolume(`'${change.name}'`);
  const wrong = checkNodeName(change.host);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const { attachedTo, state, name } = volume.record;
  if (state !== 'ready' || volume.removal !== undefined) {
    return refuse(
      'CONFLICT',
      `volume '${name}' is ${volume.removal === undefined ? state : 'being removed'}`,
    );
  }
  const unfilled = whyNotFilled(volume.record);
  if (unfilled !== undefined) return refuse('CONFLICT', unfilled, { restoring: true });
  if (attachedTo.includes(change.host)) return unchanged({ volume: volume.record });
  if (attachedTo.length >= REGISTRY_LIMITS.attachmentsMax) {
    return refuse('CONFLICT', `at most ${REGISTRY_LIMITS.attachmentsMax} hosts use one volume`);
  }
  return replace(records, volume, { attachedTo: [...attachedTo, change.host].sort() });
}

export function detach(records: ClusterRecords, change: ChangeOf<'detach'>): RegistryResult {
  const volume = records.volumeNamed(change.name);
  if (volume === undefined) return noVolume(`'${change.name}'`);
  const { attachedTo } = volume.record;
  if (!attachedTo.includes(change.host)) return unchanged({ volume: volume.record });
  return replace(records, volume, {
    attachedTo: attachedTo.filter((host) => host !== change.host),
  });
}

export function setPolicy(
  records: ClusterRecords,
  change: ChangeOf<'set-policy'>,
  time: string,
): RegistryResult {
  const volume = records.volumeNamed(change.name);
  if (volume === undefined) return noVolume(`'${change.name}'`);
  const policy = completePolicy(change.policy, volume.record.policy);
  if (typeof policy === 'string') return refuse('BAD_REQUEST', policy);
  if (samePolicy(policy, volume.record.policy)) return unchanged({ volume: volume.record });
  const unknown = unknownRepository(records, policy);
  if (unknown !== undefined) return unknown;
  const { snapshotRuns: runs, backupRuns: backups, ...rest } = volume.record;
  const isSame = policy.snapshotSchedule === rest.policy.snapshotSchedule;
  const snapshotRuns = isSame ? runs : runsAnew(policy, runs, time);
  const before = { schedule: rest.policy.backupSchedule, runs: backups };
  const backupRuns = runsOf(policy.backupSchedule, before, time);
  const record = {
    ...rest,
    policy,
    ...(snapshotRuns !== undefined && { snapshotRuns }),
    ...(backupRuns !== undefined && { backupRuns }),
  };
  records.putVolume({ ...volume, record });
  return done({ volume: record });
}

/** Backups by schedule go where the cluster can open. */
function unknownRepository(
  records: ClusterRecords,
  { backupRepository: name }: VolumePolicy,
): RegistryResult | undefined {
  if (name === undefined || records.repositories.has(name)) return undefined;
  return refuse(
    'NOT_FOUND',
    `the cluster knows no repository '${name}'; see 'holdfast backup repo ls' and 'repo add'`,
  );
}

/** Another schedule begins now; what the one before made is still the last that was made. */
function runsAnew(
  policy: VolumePolicy,
  before: SnapshotRuns | undefined,
  since: string,
): SnapshotRuns | undefined {
  if (policy.snapshotSchedule === undefined) return undefined;
  const { due: _, ...last } = before ?? { since };
  return { ...last, since };
}

export function noteSnapshotRun(
  records: ClusterRecords,
  change: ChangeOf<'note-snapshot-run'>,
  time: string,
): RegistryResult {
  const volume = records.volumes.get(change.volume);
  if (volume === undefined) return noVolume(`number ${change.volume}`);
  const { policy, snapshotRuns } = volume.record;
  const isStill = snapshotRuns !== undefined && policy.snapshotSchedule === change.schedule;
  const { due, snapshot } = change;
  if (!isStill || due <= (snapshotRuns.due ?? snapshotRuns.since))
    return unchanged({ volume: volume.record });
  return replace(records, volume, {
    snapshotRuns: { ...snapshotRuns, due, made: snapshot, madeAt: time },
  });
}

function replace(
  records: ClusterRecords,
  volume: StoredVolume,
  changes: Partial<VolumeRecord>,
): RegistryResult {
  const record = { ...volume.record, ...changes };
  records.putVolume({ ...volume, record });
  return done({ volume: record });
}

function noVolume(which: string): RegistryResult {
  return refuse('NOT_FOUND', `there is no volume ${which}`);
}
