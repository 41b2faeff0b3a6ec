/** Repositories of backups as the command line names them: place, password, credentials. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  azureAccount,
  type Bandwidth,
  credentialChain,
  limitBandwidth,
  openRepository,
  ownSurroundings,
  type Repository,
  type Store,
  storeAt,
} from '@holdfast/backup';
import {
  HoldfastError,
  isRepositoryName,
  type RepositoryAccess,
  type RepositoryRecord,
} from '@holdfast/protocol';
import { type Command, Option } from 'commander';
import { connectToCluster, isMember } from './context.ts';
import { parseCount, parseSize } from './sizes.ts';

/** Options of every command that works with a repository. */
export interface PlaceOptions {
  readonly repo: string;
  readonly passwordFile?: string;
  readonly s3Region?: string;
  readonly s3Ca?: string;
  readonly s3Style?: 'path' | 'host';
  readonly azureEndpoint?: string;
  readonly azureCa?: string;
  readonly limitUpload?: number;
  readonly limitDownload?: number;
  readonly retryLock: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Where passwords come from, in this order; restic's names are understood too. */
const PASSWORD_FILES = ['HOLDFAST_BACKUP_PASSWORD_FILE', 'RESTIC_PASSWORD_FILE'] as const;
const PASSWORDS = ['HOLDFAST_BACKUP_PASSWORD', 'RESTIC_PASSWORD'] as const;

/** Adds the options to a command. */
export function withPlace(command: Command): Command {
  return command
    .addOption(
      new Option(
        '-r, --repo <place>',
        'a repository that the cluster knows by name; a directory; s3:https://HOST/BUCKET[/PREFIX] with credentials as AWS tools find them; or azure:CONTAINER:/[PREFIX] of $AZURE_ACCOUNT_NAME with $AZURE_ACCOUNT_KEY or $AZURE_ACCOUNT_SAS',
      )
        .env('HOLDFAST_BACKUP_REPO')
        .makeOptionMandatory(),
    )
    .option(
      '--password-file <file>',
      'its first line is the password; else $HOLDFAST_BACKUP_PASSWORD_FILE or $HOLDFAST_BACKUP_PASSWORD',
    )
    .addOption(
      new Option('--s3-region <region>', 'region that requests are signed for').env('AWS_REGION'),
    )
    .addOption(
      new Option('--s3-ca <file>', 'PEM of the authority of a private store').env('AWS_CA_BUNDLE'),
    )
    .addOption(
      new Option(
        '--s3-style <style>',
        'bucket in the path or in the host name; path by default but for AWS',
      ).choices(['path', 'host']),
    )
    .addOption(
      new Option(
        '--azure-endpoint <url>',
        "of the account's blobs, such as http://127.0.0.1:10000/ACCOUNT, in place of Azure's own",
      ).env('AZURE_STORAGE_SERVICE_ENDPOINT'),
    )
    .option('--azure-ca <file>', 'PEM of the authority of such an endpoint')
    .option('--limit-upload <size>', 'bytes a second at most, such as 10M', parseSize)
    .option('--limit-download <size>', 'bytes a second at most', parseSize)
    .option(
      '--retry-lock <seconds>',
      'wait so long for others that have the repository locked',
      parseCount('--retry-lock', 0, 86_400),
      0,
    );
}

/** The options for a place that is named without any: what the environment says. */
export function placeFromEnvironment(repo: string, env: Environment = process.env): PlaceOptions {
  const { AWS_REGION, AWS_CA_BUNDLE, AZURE_STORAGE_SERVICE_ENDPOINT } = env;
  return {
    repo,
    retryLock: 0,
    ...(AWS_REGION ? { s3Region: AWS_REGION } : {}),
    ...(AWS_CA_BUNDLE ? { s3Ca: AWS_CA_BUNDLE } : {}),
    ...(AZURE_STORAGE_SERVICE_ENDPOINT ? { azureEndpoint: AZURE_STORAGE_SERVICE_ENDPOINT } : {}),
  };
}

/** The password, from a file or the environment, never from the command line. BAD_CONFIG without one. */
export async function passwordOf(
  { passwordFile }: Pick<PlaceOptions, 'passwordFile'>,
  env: Environment = process.env,
): Promise<string> {
  const named = PASSWORD_FILES.map((name) => env[name]).find((file) => file);
  const given = PASSWORDS.map((name) => env[name]).find((password) => password);
  const file = passwordFile ?? (given === undefined ? named : undefined);
  if (file === undefined && given === undefined)
    throw new HoldfastError(
      'BAD_CONFIG',
      'no password of the repository; set HOLDFAST_BACKUP_PASSWORD, or name a file with --password-file',
    );
  if (file === undefined) return given ?? '';
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HoldfastError('BAD_CONFIG', `cannot read the password: ${why}`, { cause });
  });
  const password = text.split(/\r?\n/, 1)[0] ?? '';
  if (password !== '') return password;
  throw new HoldfastError('BAD_CONFIG', `the first line of ${file}, the password, is empty`);
}

/** A place with a relative directory made absolute. */
export function placeOf(text: string): string {
  return /^[a-z0-9]+:/.test(text) ? text : resolve(text);
}

/** The authority that is trusted for the store, where one is named for its kind. */
async function authority({ repo, s3Ca, azureCa }: PlaceOptions): Promise<string | undefined> {
  const isAzure = repo.startsWith('azure:');
  const [option, file] = isAzure ? ['--azure-ca', azureCa] : ['--s3-ca', s3Ca];
  if (file === undefined) return undefined;
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw new HoldfastError('BAD_CONFIG', `${option}: cannot read ${file}`, { cause });
  });
}

/** Options of the store, as a repository that is known by name keeps them. */
export type StoreOptions = Pick<
  RepositoryRecord,
  'region' | 'ca' | 'pathStyle' | 'endpoint' | 'sendBytesPerSecond' | 'fetchBytesPerSecond'
>;

/** What the options say of the store. BAD_CONFIG. */
export async function storeOptionsOf(options: PlaceOptions): Promise<StoreOptions> {
  const { s3Region, s3Style, azureEndpoint, limitUpload, limitDownload } = options;
  const ca = await authority(options);
  return {
    ...(s3Region === undefined ? {} : { region: s3Region }),
    ...(ca === undefined ? {} : { ca }),
    ...(s3Style === undefined ? {} : { pathStyle: s3Style === 'path' }),
    ...(azureEndpoint === undefined ? {} : { endpoint: azureEndpoint }),
    ...(limitUpload ? { sendBytesPerSecond: limitUpload } : {}),
    ...(limitDownload ? { fetchBytesPerSecond: limitDownload } : {}),
  };
}

/** Where a repository lies and what opens it, by whatever way it was named. */
export interface RepositoryPlace extends StoreOptions {
  readonly place: string;
  readonly password: string;
  /** Kept with the repository; without, those of this host are used. */
  readonly credentials?: Readonly<Record<string, string>>;
}

/** The store at a place. BAD_CONFIG. */
export function storeOf(at: Omit<RepositoryPlace, 'password'>): Store {
  const { place, region, ca, pathStyle, endpoint, credentials = {} } = at;
  const { nowMs, sleep } = ownSurroundings();
  const hasOwn = Object.keys(credentials).length > 0;
  const store = storeAt(place, {
    surroundings: { nowMs, sleep, random: () => Math.random() },
    account: () => azureAccount(hasOwn ? credentials : process.env, endpoint),
    ...(region === undefined ? {} : { region }),
    ...(ca === undefined ? {} : { ca }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...(hasOwn ? { credentials: credentialChain(credentials) } : {}),
  });
  const { sendBytesPerSecond, fetchBytesPerSecond } = at;
  const limits: Bandwidth = {
    ...(sendBytesPerSecond === undefined ? {} : { sendBytesPerSecond }),
    ...(fetchBytesPerSecond === undefined ? {} : { fetchBytesPerSecond }),
  };
  return Object.keys(limits).length === 0 ? store : limitBandwidth(store, limits, { nowMs, sleep });
}

/**
 * Opens a repository that the cluster knows by name. What it does not know of the store, this host's
 * environment says. NOT_FOUND, EACCES, UNREACHABLE.
 */
export async function openKnown(
  access: RepositoryAccess,
  env: Environment = process.env,
): Promise<Repository> {
  const { AWS_REGION: s3Region, AWS_CA_BUNDLE: s3Ca } = env;
  const own = await storeOptionsOf({
    repo: access.repository.place,
    retryLock: 0,
    ...(s3Region ? { s3Region } : {}),
    ...(s3Ca ? { s3Ca } : {}),
  });
  return openAt({ ...own, ...knownPlace(access) });
}

/** A repository that the cluster knows by name, as a place. */
export function knownPlace({ repository, secrets }: RepositoryAccess): RepositoryPlace {
  return { ...repository, ...secrets };
}

/**
 * The place that the options name: a repository that the cluster of this host knows under the word, or
 * else a place. Of a known one the options change the limits and, by a file, the password; what the
 * cluster does not know of its store is filled in. NOT_FOUND, FORBIDDEN on a host that is but a client,
 * BAD_CONFIG without a password.
 */
async function findPlace(options: PlaceOptions, dataDirectory: string): Promise<RepositoryPlace> {
  const { repo, passwordFile } = options;
  const isWord = isRepositoryName(repo) && isMember(dataDirectory);
  const access = isWord ? await knownAccess(repo, dataDirectory) : undefined;
  if (isWord && access === undefined && !existsSync(repo))
    throw new HoldfastError(
      'NOT_FOUND',
      `the cluster knows no repository '${repo}' ('holdfast backup repo ls' lists them), and there is no directory ${placeOf(repo)}`,
    );
  const given = await storeOptionsOf(options);
  if (access === undefined)
    return { place: placeOf(repo), password: await passwordOf(options), ...given };
  const known = knownPlace(access);
  const password = passwordFile === undefined ? known.password : await passwordOf(options);
  const { sendBytesPerSecond, fetchBytesPerSecond } = { ...known, ...given };
  return {
    ...given,
    ...known,
    password,
    ...(sendBytesPerSecond === undefined ? {} : { sendBytesPerSecond }),
    ...(fetchBytesPerSecond === undefined ? {} : { fetchBytesPerSecond }),
  };
}

/** What the cluster of this host knows; undefined when it knows none by that name. */
async function knownAccess(
  name: string,
  dataDirectory: string,
): Promise<RepositoryAccess | undefined> {
  const client = await connectToCluster(dataDirectory);
  try {
    return await client.repositories.access(name);
  } finally {
    await client.close();
  }
}

/** A repository that is open, and where it lies. */
export interface OpenPlace {
  readonly repository: Repository;
  readonly place: string;
}

/** Opens the repository that the options name. NOT_FOUND, EACCES (a wrong password), UNREACHABLE. */
export async function openPlace(options: PlaceOptions, dataDirectory: string): Promise<OpenPlace> {
  const at = await findPlace(options, dataDirectory);
  return { repository: await openAt(at), place: at.place };
}

/** Opens the repository at a place. NOT_FOUND, EACCES (a wrong password), UNREACHABLE. */
export async function openAt(at: RepositoryPlace): Promise<Repository> {
  const store = storeOf(at);
  try {
    return await openRepository({ store, password: at.password });
  } catch (error) {
    throw explained(error, { repo: at.place });
  }
}

/** Codes that only speak of the repository while it is being opened. */
const OF_OPENING: ReadonlySet<string> = new Set(['NOT_FOUND', 'EACCES', 'EEXIST']);

/** What a failure means for the place, with the way out. `isOpen`: the repository was found before. */
export function explained(
  error: unknown,
  { repo }: Pick<PlaceOptions, 'repo'>,
  { isOpen }: { readonly isOpen: boolean } = { isOpen: false },
): unknown {
  if (!(error instanceof HoldfastError)) return error;
  const { code, detail, message } = error;
  const isOfStore = detail?.['key'] !== undefined || detail?.['store'] !== undefined;
  if (isOpen && (OF_OPENING.has(code) || !isOfStore)) return error;
  const said = (text: string, as = code): HoldfastError =>
    new HoldfastError(as, text, { cause: error, ...(detail === undefined ? {} : { detail }) });
  if (detail?.['reason'] === 'NoSuchBucket' || detail?.['reason'] === 'ContainerNotFound')
    return said(`there is no bucket at ${repo}; make it with the tools of the store`, 'NOT_FOUND');
  if (code === 'NOT_FOUND')
    return said(
      `there is no repository at ${repo}; make one with 'holdfast backup repo init --repo ${repo}'`,
    );
  if (code === 'EACCES')
    return said(`the password fits none of the keys of the repository at ${repo}`);
  if (code === 'EEXIST') return said(`there is a repository at ${repo} already`);
  if (code === 'UNREACHABLE' || code === 'FORBIDDEN' || code === 'ENOSPC')
    return said(`${repo}: ${message}`);
  return error;
}
