import {
  HoldfastError,
  isRepositoryName,
  LIMITS,
  parseBackupSource,
  parseWholeSnapshotName,
  type VolumePolicy,
} from '@holdfast/protocol';
import { parseBackupKeep, parseKeep, parsePeriod, Schedule } from '@holdfast/schedule';

/** One option of `docker volume create -o`. */
interface VolumeOption {
  readonly name: string;
  /** Names under which users of other drivers know it. */
  readonly aliases: readonly string[];
  /** Absent: designed, not available yet. */
  readonly parse?: (value: string) => Partial<VolumePolicy>;
}

const REPLICAS_MAX = 7;
/** The highest user or group id; 2^32 - 1 means "no change" to chown(2). */
const ID_MAX = 2 ** 32 - 2;

const OPTIONS: readonly VolumeOption[] = [
  {
    name: 'size',
    aliases: ['quota', 'capacity'],
    parse: (value) => ({ quotaBytes: parseSize(value) }),
  },
  {
    name: 'replicas',
    aliases: ['repl', 'numberOfReplicas', 'ReplicationGoal'],
    parse: (value) => ({ replicas: wholeNumber('replicas', value, 1, REPLICAS_MAX) }),
  },
  { name: 'uid', aliases: [], parse: (value) => ({ uid: wholeNumber('uid', value, 0, ID_MAX) }) },
  { name: 'gid', aliases: [], parse: (value) => ({ gid: wholeNumber('gid', value, 0, ID_MAX) }) },
  { name: 'mode', aliases: [], parse: (value) => ({ mode: parseMode(value) }) },
  { name: 'class', aliases: ['tier', 'io_priority', 'priority_io', 'diskSelector'] },
  { name: 'access', aliases: ['shared', 'sharedv4'] },
  {
    name: 'snapshot-schedule',
    aliases: ['snap', 'snap_schedule', 'periodic'],
    parse: (value) => ({ snapshotSchedule: Schedule.parse(value).text }),
  },
  {
    name: 'snapshot-keep',
    aliases: ['snap_keep'],
    parse: (value) => ({ snapshotKeep: parseKeep(value).text }),
  },
  {
    name: 'backup-period',
    aliases: ['backup_period'],
    parse: (value) => ({ backupPeriodMs: parsePeriod(value) }),
  },
  {
    name: 'backup',
    aliases: ['backup_target', 'backup-repository'],
    parse: (value) => ({ backupRepository: repositoryName(value) }),
  },
  {
    name: 'backup-schedule',
    aliases: ['backup_schedule'],
    parse: (value) => ({ backupSchedule: Schedule.parse(value).text }),
  },
  {
    name: 'backup-keep',
    aliases: ['backup_keep'],
    parse: (value) => ({ backupKeep: parseBackupKeep(value).text }),
  },
  {
    name: 'from',
    aliases: ['parent'],
    parse: (value) => {
      parseWholeSnapshotName(value);
      return {};
    },
  },
  {
    name: 'from-backup',
    aliases: ['from_backup', 'fromBackup'],
    parse: (value) => {
      parseBackupSource(value);
      return {};
    },
  },
  { name: 'encrypt', aliases: ['encrypted', 'secure', 'secret_key'] },
];

const NAMES = OPTIONS.flatMap(({ name, aliases }) => [name, ...aliases]);

/**
 * The policy that the options of a Create ask for; what they do not name is left out. Names are
 * matched without regard to case. BAD_REQUEST for an unknown option (with the nearest known one), one
 * given twice, one that is not available yet, or a value outside its range.
 */
export function parseVolumeOptions(
  options: Readonly<Record<string, string>>,
): Partial<VolumePolicy> {
  const given = new Map<VolumeOption, string>();
  let policy: Partial<VolumePolicy> = {};
  for (const [key, value] of Object.entries(options)) {
    const option = OPTIONS.find(({ name, aliases }) => {
      return [name, ...aliases].some((known) => known.toLowerCase() === key.toLowerCase());
    });
    if (option === undefined) throw unknownOption(key);
    const twin = given.get(option);
    if (twin !== undefined) throw refuse(`options '${twin}' and '${key}' mean the same: give one`);
    if (option.parse === undefined) throw refuse(`option '${key}' is not available yet`);
    given.set(option, key);
    policy = { ...policy, ...option.parse(value) };
  }
  const twice = [...given].filter(([{ name }]) => name === 'from' || name === 'from-backup');
  if (twice.length > 1) throw refuse("give 'from' or 'from-backup', not both");
  return policy;
}

/** The snapshot, VOLUME@SNAPSHOT, that options which {@link parseVolumeOptions} took say to clone. */
export function volumeSource(options: Readonly<Record<string, string>>): string | undefined {
  return optionValue('from', options);
}

/** The backup, REPOSITORY:VOLUME[@BACKUP], that options which {@link parseVolumeOptions} took say to fill it with. */
export function backupOf(options: Readonly<Record<string, string>>): string | undefined {
  return optionValue('from-backup', options);
}

function optionValue(
  wanted: string,
  options: Readonly<Record<string, string>>,
): string | undefined {
  const { name, aliases } = OPTIONS.find((option) => option.name === wanted)!;
  const known = [name, ...aliases].map((text) => text.toLowerCase());
  return Object.entries(options).find(([key]) => known.includes(key.toLowerCase()))?.[1];
}

/** Binary multiples: 10G, 10GB, 10Gi and 10GiB are the same, as in Docker's own sizes. */
const UNITS = ['', 'K', 'M', 'G', 'T', 'P'];

/** Bytes of a size such as `10G` or `512MiB`; at least 1. BAD_REQUEST for anything else. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([KMGTP])i?)?B?$/i.exec(text.trim());
  const unit = UNITS.indexOf(match?.[2]?.toUpperCase() ?? '');
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** unit);
  if (match === null || bytes < 1 || bytes > LIMITS.fileBytesMax) {
    const wanted = 'give a number with K, M, G, T or P, for example 10G (= 10 GiB)';
    throw refuse(`size '${text}' is not understood: ${wanted}`);
  }
  return bytes;
}

/** First a letter or digit, then also underscore, point and hyphen: what Docker itself allows. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The name itself. BAD_REQUEST when the cluster or Docker could not keep a volume of that name. */
export function checkVolumeName(name: string): string {
  if (name.length > LIMITS.volumeNameBytesMax) {
    const length = `a volume's name has at most ${LIMITS.volumeNameBytesMax} characters`;
    throw refuse(`${length}, this one has ${name.length}`);
  }
  if (!NAME.test(name)) {
    const rule = 'letters, digits, _ . and -, the first a letter or digit';
    throw refuse(`'${name}' cannot be a volume's name: allowed are ${rule}`);
  }
  return name;
}

function repositoryName(text: string): string {
  if (isRepositoryName(text)) return text;
  const wanted = 'give the name of a repository that the cluster knows';
  throw refuse(`backup '${text}' is not understood: ${wanted} (holdfast backup repo ls)`);
}

function parseMode(text: string): number {
  if (!/^0?[0-7]{3,4}$/.test(text)) {
    throw refuse(`mode '${text}' is not understood: give three or four octal digits, as 0755`);
  }
  return Number.parseInt(text, 8);
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw refuse(`${name} '${text}' is not allowed: give a whole number from ${least} to ${most}`);
  }
  return value;
}

function unknownOption(key: string): HoldfastError {
  const distances = NAMES.map((name) => ({ name, distance: editDistance(key, name) }));
  const nearest = distances.reduce((best, next) => (next.distance < best.distance ? next : best));
  const usable = OPTIONS.filter((option) => option.parse !== undefined).map(({ name }) => name);
  return refuse(
    `unknown option '${key}': did you mean '${nearest.name}'? Options are ${usable.join(', ')}`,
  );
}

/** Least number of letters to insert, delete or replace (Levenshtein), without regard to case. */
function editDistance(from: string, to: string): number {
  // A key can be long, a known name cannot; beyond its head a key resembles nothing.
  const source = from.toLowerCase().slice(0, 64);
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of Array.from(source).entries()) {
    const next = [i + 1];
    for (const [j, other] of Array.from(to.toLowerCase()).entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? source.length;
}

function refuse(message: string): HoldfastError {
  return new HoldfastError('BAD_REQUEST', message);
}
