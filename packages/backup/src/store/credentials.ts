/** Where S3 credentials come from: the chain that users of AWS tools expect, without their SDK. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { HttpClient } from './http.ts';

/** What requests are signed with. */
export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** Milliseconds since the epoch after which they are void; absent: never. */
  readonly expiresMs?: number;
}

/** Gives credentials that are valid now. */
export type CredentialSource = () => Promise<S3Credentials>;

/** Time before their end when credentials are fetched anew. */
const RENEW_BEFORE_MS = 5 * 60_000;
const METADATA_IDLE_MS = 2000;
const METADATA_SERVICE = 'http://169.254.169.254';
const CONTAINER_SERVICE = 'http://169.254.170.2';

type Environment = Readonly<Record<string, string | undefined>>;

/** Credentials that do not change. */
export function fixedCredentials(credentials: S3Credentials): CredentialSource {
  return async () => credentials;
}

function fromEnvironment(env: Environment): S3Credentials | undefined {
  const accessKeyId = env['AWS_ACCESS_KEY_ID'];
  const secretAccessKey = env['AWS_SECRET_ACCESS_KEY'];
  if (!accessKeyId || !secretAccessKey) return undefined;
  const sessionToken = env['AWS_SESSION_TOKEN'];
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** A profile of a shared credentials file (INI). */
function credentialsInFile(text: string, profile: string): S3Credentials | undefined {
  const fields: Record<string, string> = {};
  let section = '';
  for (const line of text.split(/\r?\n/)) {
    const header = /^\s*\[([^\]]+)\]/.exec(line)?.[1];
    if (header !== undefined) section = header.trim();
    const [, name, value] = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/i.exec(line) ?? [];
    if (section === profile && name !== undefined) fields[name.toLowerCase()] = value ?? '';
  }
  const accessKeyId = fields['aws_access_key_id'];
  const secretAccessKey = fields['aws_secret_access_key'];
  if (!accessKeyId || !secretAccessKey) return undefined;
  const sessionToken = fields['aws_session_token'];
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

async function fromFile(env: Environment): Promise<S3Credentials | undefined> {
  const path = env['AWS_SHARED_CREDENTIALS_FILE'] ?? join(homedir(), '.aws', 'credentials');
  try {
    return credentialsInFile(await readFile(path, 'utf8'), env['AWS_PROFILE'] ?? 'default');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new HoldfastError('BAD_CONFIG', `cannot read the credentials in ${path}`, {
      cause: error,
    });
  }
}

function fromDocument(bytes: Uint8Array): S3Credentials | undefined {
  const fields = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
  const [id, secret, token] = [fields['AccessKeyId'], fields['SecretAccessKey'], fields['Token']];
  if (typeof id !== 'string' || typeof secret !== 'string') return undefined;
  const expiresMs = Date.parse(String(fields['Expiration']));
  return {
    accessKeyId: id,
    secretAccessKey: secret,
    ...(typeof token === 'string' ? { sessionToken: token } : {}),
    ...(Number.isNaN(expiresMs) ? {} : { expiresMs }),
  };
}

async function fromContainer(
  http: HttpClient,
  env: Environment,
): Promise<S3Credentials | undefined> {
  const relative = env['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'];
  const full = env['AWS_CONTAINER_CREDENTIALS_FULL_URI'];
  if (!relative && !full) return undefined;
  const url = new URL(full ?? `${CONTAINER_SERVICE}${relative}`);
  const tokenFile = env['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'];
  const token =
    tokenFile === undefined
      ? env['AWS_CONTAINER_AUTHORIZATION_TOKEN']
      : (await readFile(tokenFile, 'utf8')).trim();
  const headers: Record<string, string> = token === undefined ? {} : { authorization: token };
  const answer = await http.send({ method: 'GET', url, headers });
  return answer.status === 200 ? fromDocument(answer.body) : undefined;
}

/** EC2's metadata service, version 2 (docs.aws.amazon.com, "Use IMDSv2"). */
async function fromMachine(http: HttpClient, env: Environment): Promise<S3Credentials | undefined> {
  if (env['AWS_EC2_METADATA_DISABLED'] === 'true') return undefined;
  const base = env['AWS_EC2_METADATA_SERVICE_ENDPOINT'] ?? METADATA_SERVICE;
  const ask = (method: string, path: string, headers: Record<string, string>) =>
    http.send({ method, url: new URL(`/latest/${path}`, base), headers });
  try {
    const token = await ask('PUT', 'api/token', { 'x-aws-ec2-metadata-token-ttl-seconds': '300' });
    const headers = { 'x-aws-ec2-metadata-token': token.body.toString('latin1') };
    const roles = 'meta-data/iam/security-credentials/';
    const role = (await ask('GET', roles, headers)).body.toString('utf8').split('\n')[0] ?? '';
    const answer = await ask('GET', `${roles}${role}`, headers);
    return answer.status === 200 ? fromDocument(answer.body) : undefined;
  } catch (error) {
    // No such machine, or no role: the end of the chain.
    if (error instanceof HoldfastError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * The chain: AWS_* variables, the shared file and profile, the container's service, the machine's.
 * Asks again shortly before what it got expires. BAD_CONFIG when nobody knows any.
 */
export function credentialChain(
  env: Environment = process.env,
  nowMs: () => number = () => Date.now(),
): CredentialSource {
  let known: S3Credentials | undefined;
  return async () => {
    if (
      known !== undefined &&
      (known.expiresMs ?? Number.POSITIVE_INFINITY) - RENEW_BEFORE_MS > nowMs()
    )
      return known;
    const http = new HttpClient({ idleMs: METADATA_IDLE_MS, connectionsMax: 1 });
    try {
      known =
        fromEnvironment(env) ??
        (await fromFile(env)) ??
        (await fromContainer(http, env)) ??
        (await fromMachine(http, env));
    } finally {
      http.close();
    }
    if (known !== undefined) return known;
    throw new HoldfastError(
      'BAD_CONFIG',
      'no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared credentials file, or a role of the machine',
    );
  };
}
