/** Repositories of backups that the registry knows by name, with what opens them. */
import type { RepositoryRecord, RepositorySecrets } from '@holdfast/protocol';
import { REGISTRY_LIMITS, type RegistryResult } from './cluster-commands.ts';
import { runsOf } from './cluster-jobs.ts';
import { checkNodeName, checkRepositoryName, SCHEDULE_TEXT_MAX } from './cluster-names.ts';
import type { ChangeOf } from './cluster-nodes.ts';
import type { ClusterRecords } from './cluster-records.ts';
import { changed, done, refuse } from './registry-results.ts';

/** Characters of a place, a region, a password, a credential; of an authority's certificates. */
const TEXT_MAX = 1_024;
const CREDENTIAL_MAX = 8_192;
const CA_MAX = 32_768;
const CREDENTIALS_MAX = 16;
/** Volumes that a refusal names. */
const USERS_SHOWN = 8;
/** As --read-data-subset of the command. */
const VERIFY_PARTS_MAX = 9_999;
/** Variables that the tools of stores know; nothing else is handed to a store. */
const CREDENTIAL_NAME = /^(?:AWS|AZURE)_[A-Z0-9_]{1,60}$/;

/** See the change's own description; likewise below. `time` is the command's, ISO 8601. */
export function putRepository(
  records: ClusterRecords,
  { repository, secrets, replace }: ChangeOf<'put-repository'>,
  time: string,
): RegistryResult {
  const wrong = checkRepository(repository) ?? checkSecrets(secrets);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const { name } = repository;
  const present = records.repositories.get(name);
  if (present !== undefined && !replace)
    return refuse(
      'EEXIST',
      `there is a repository '${name}' already; --replace puts this in its place`,
    );
  const { repositoriesMax } = REGISTRY_LIMITS;
  if (present === undefined && records.repositories.size >= repositoriesMax)
    return refuse('CONFLICT', `a cluster knows at most ${repositoriesMax} repositories by name`);
  const { pruneSchedule, verifySchedule, pruneRuns, verifyRuns } = present?.repository ?? {};
  const record: RepositoryRecord = {
    ...repository,
    verifyParts: present?.repository.verifyParts ?? 0,
    ...(pruneSchedule !== undefined && { pruneSchedule }),
    ...(verifySchedule !== undefined && { verifySchedule }),
    ...(pruneRuns !== undefined && { pruneRuns }),
    ...(verifyRuns !== undefined && { verifyRuns }),
    credentialNames: Object.keys(secrets.credentials).sort(),
    createdAt: present?.repository.createdAt ?? time,
  };
  records.putRepository({ repository: record, secrets });
  return done({ repository: record });
}

export function removeRepository(
  records: ClusterRecords,
  { name }: ChangeOf<'remove-repository'>,
): RegistryResult {
  if (!records.repositories.has(name))
    return refuse('NOT_FOUND', `the cluster knows no repository '${name}'`);
  const users = [...records.volumes.values()].filter(
    ({ record }) => record.policy.backupRepository === name,
  );
  if (users.length > 0) {
    const shown = users.slice(0, USERS_SHOWN).map(({ record }) => record.name);
    const more = users.length > USERS_SHOWN ? ` and ${users.length - USERS_SHOWN} more` : '';
    return refuse(
      'EBUSY',
      `volumes are backed up into repository '${name}' by schedule: ${shown.join(', ')}${more}; see 'holdfast backup schedule rm'`,
    );
  }
  records.deleteRepository(name);
  return changed();
}

export function setUpkeep(
  records: ClusterRecords,
  { name, upkeep }: ChangeOf<'set-upkeep'>,
  time: string,
): RegistryResult {
  const access = records.repositories.get(name);
  if (access === undefined) return refuse('NOT_FOUND', `the cluster knows no repository '${name}'`);
  const {
    pruneSchedule: prune,
    verifySchedule: verify,
    pruneRuns,
    verifyRuns,
    ...rest
  } = access.repository;
  const next = {
    prune: (upkeep.pruneSchedule ?? prune) || undefined,
    verify: (upkeep.verifySchedule ?? verify) || undefined,
  };
  const verifyParts = upkeep.verifyParts ?? rest.verifyParts;
  const texts = [next.prune, next.verify].every((text = '') => text.length <= SCHEDULE_TEXT_MAX);
  if (!texts)
    return refuse('BAD_REQUEST', `a schedule has at most ${SCHEDULE_TEXT_MAX} characters`);
  if (!(Number.isSafeInteger(verifyParts) && verifyParts >= 0 && verifyParts <= VERIFY_PARTS_MAX))
    return refuse('BAD_REQUEST', `a verification reads one of 0 to ${VERIFY_PARTS_MAX} parts`);
  const pruned = runsOf(next.prune, { schedule: prune, runs: pruneRuns }, time);
  const verified = runsOf(next.verify, { schedule: verify, runs: verifyRuns }, time);
  const record: RepositoryRecord = {
    ...rest,
    verifyParts,
    ...(next.prune !== undefined && { pruneSchedule: next.prune }),
    ...(next.verify !== undefined && { verifySchedule: next.verify }),
    ...(pruned !== undefined && { pruneRuns: pruned }),
    ...(verified !== undefined && { verifyRuns: verified }),
  };
  records.putRepository({ ...access, repository: record });
  return done({ repository: record });
}

function checkRepository(repository: ChangeOf<'put-repository'>['repository']): string | undefined {
  const { name, place, id, hosts, region = '', endpoint = '', ca = '' } = repository;
  const { sendBytesPerSecond = 1, fetchBytesPerSecond = 1 } = repository;
  const rates = [sendBytesPerSecond, fetchBytesPerSecond];
  if (place.length === 0 || place.length > TEXT_MAX)
    return `the place of a repository has 1 to ${TEXT_MAX} characters`;
  if (!place.startsWith('/') && !/^[a-z0-9]+:/.test(place))
    return 'the place of a repository is an absolute directory, or has a scheme such as s3:';
  if (!/^[0-9a-f]{64}$/.test(id)) return 'the id of a repository has 64 hexadecimal digits';
  if (endpoint.length > TEXT_MAX) return `an endpoint has at most ${TEXT_MAX} characters`;
  if (region.length > TEXT_MAX) return `a region has at most ${TEXT_MAX} characters`;
  if (ca.length > CA_MAX)
    return `the certificates of an authority have at most ${CA_MAX} characters`;
  if (hosts.length > REGISTRY_LIMITS.nodesMax)
    return `at most ${REGISTRY_LIMITS.nodesMax} hosts work with one repository`;
  if (!rates.every((rate) => Number.isSafeInteger(rate) && rate > 0))
    return 'a limit of bandwidth is a whole number of bytes a second, 1 or more';
  return checkRepositoryName(name) ?? hosts.map(checkNodeName).find((text) => text !== undefined);
}

/** Says nothing of what they are. */
function checkSecrets({ password, credentials }: RepositorySecrets): string | undefined {
  if (password.length === 0 || password.length > TEXT_MAX)
    return `the password of a repository has 1 to ${TEXT_MAX} characters`;
  const all = Object.entries(credentials);
  if (all.length > CREDENTIALS_MAX)
    return `a repository is kept with at most ${CREDENTIALS_MAX} credentials`;
  if (!all.every(([name]) => CREDENTIAL_NAME.test(name)))
    return 'credentials are variables that the tools of stores know: AWS_… or AZURE_…';
  if (all.every(([, value]) => value.length > 0 && value.length <= CREDENTIAL_MAX))
    return undefined;
  return `a credential has 1 to ${CREDENTIAL_MAX} characters`;
}
