/** Repositories of backups that the cluster knows by name. */
import type { LastVerification } from './cluster.ts';
import type { JobRuns } from './jobs.ts';

/** Characters of the name of a repository: it is a label of metrics. */
export const REPOSITORY_NAME_MAX = 64;

/** Whether a word may name a repository: letters, digits, '_', '.' and '-', a letter or digit first. */
export function isRepositoryName(text: string): boolean {
  return text.length <= REPOSITORY_NAME_MAX && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text);
}

/** A repository as anyone may see it. */
export interface RepositoryRecord {
  readonly name: string;
  /** An absolute directory, or a store as `holdfast backup --repo` takes it: `s3:https://HOST/BUCKET/PREFIX`, `azure:CONTAINER:/PREFIX`. */
  readonly place: string;
  /** Of the repository itself, 64 hexadecimal digits. */
  readonly id: string;
  /** Names of the peers that may work with it: where a directory is. Empty: all. */
  readonly hosts: readonly string[];
  /** Region that requests are signed for. */
  readonly region?: string;
  /** PEM of the authority that signed the store's certificate. */
  readonly ca?: string;
  /** Whether the bucket stands in the path, not in the host's name; by default but for AWS. */
  readonly pathStyle?: boolean;
  /** Address of the blobs of an account of Azure, in place of Azure's own. */
  readonly endpoint?: string;
  /** Bytes per second of one host; absent: no limit. */
  readonly sendBytesPerSecond?: number;
  readonly fetchBytesPerSecond?: number;
  /** When it is pruned, and verified: cron's five fields, in UTC. Absent: never by the cluster. */
  readonly pruneSchedule?: string;
  readonly verifySchedule?: string;
  /** Each verification reads one of so many parts of the data in turn; 0: none of it. */
  readonly verifyParts: number;
  readonly pruneRuns?: JobRuns;
  readonly verifyRuns?: JobRuns;
  /** What the last verification by schedule found. */
  readonly lastVerification?: LastVerification;
  /** Names of the credentials that are kept with it; none: each host has its own. */
  readonly credentialNames: readonly string[];
  /** ISO 8601. */
  readonly createdAt: string;
}

/** What a repository and its store are opened with. Never shown, logged or measured. */
export interface RepositorySecrets {
  readonly password: string;
  /** Variables of the environment in which the store's own tools find their credentials, by name. */
  readonly credentials: Readonly<Record<string, string>>;
}

/** A repository with what opens it: for administrators and peers. */
export interface RepositoryAccess {
  readonly repository: RepositoryRecord;
  readonly secrets: RepositorySecrets;
}
