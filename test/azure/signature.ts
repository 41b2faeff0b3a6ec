/**
 * Checks what allows a request to Azure Blob Storage: Shared Key (learn.microsoft.com/rest/api/
 * storageservices/authorize-with-shared-key) or a service's shared access signature of a container
 * (…/create-service-sas). Written apart from any client, so that a mistake of a client is not
 * repeated here.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** A request as it arrived. */
export interface SignedRequest {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Whose requests are good. */
export interface AzureKeys {
  readonly account: string;
  /** Base64. */
  readonly key: string;
  readonly container: string;
}

/** Largest difference of clocks, as at Azure. */
const SKEW_MS_MAX = 15 * 60_000;

function mac(key: string, text: string): string {
  return createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
}

function canonicalHeaders(headers: IncomingHttpHeaders): string {
  let text = '';
  for (const name of Object.keys(headers).sort())
    if (name.startsWith('x-ms-')) text += `${name}:${String(headers[name]).trim()}\n`;
  return text;
}

function canonicalResource(account: string, target: string): string {
  const [path = '', query = ''] = target.split('?');
  const values = new Map<string, string[]>();
  for (const pair of query.split('&').filter(Boolean)) {
    const [name = '', value = ''] = pair.split(/=(.*)/s);
    const key = decodeURIComponent(name).toLowerCase();
    values.set(key, [...(values.get(key) ?? []), decodeURIComponent(value.replaceAll('+', ' '))]);
  }
  let text = `/${account}${path}`;
  for (const key of [...values.keys()].sort()) text += `\n${key}:${values.get(key)!.sort().join()}`;
  return text;
}

function sharedKeyText({ method, target, headers }: SignedRequest, account: string): string {
  const { 'content-length': length = '' } = headers;
  const lines = [
    method,
    headers['content-encoding'] ?? '',
    headers['content-language'] ?? '',
    length === '0' ? '' : length,
    headers['content-md5'] ?? '',
    headers['content-type'] ?? '',
    headers['x-ms-date'] === undefined ? (headers['date'] ?? '') : '',
    headers['if-modified-since'] ?? '',
    headers['if-match'] ?? '',
    headers['if-none-match'] ?? '',
    headers['if-unmodified-since'] ?? '',
    headers['range'] ?? '',
  ];
  return `${lines.join('\n')}\n${canonicalHeaders(headers)}${canonicalResource(account, target)}`;
}

/** What a shared access signature of a container grants, and until when. */
export interface SasGrant {
  /** Letters: r read, a add, c create, w write, d delete, l list. */
  readonly permissions: string;
  /** ISO 8601 without fractions of seconds. */
  readonly expires: string;
}

const SAS_VERSION = '2020-10-02';

function sasText({ account, container }: AzureKeys, { permissions, expires }: SasGrant): string {
  const resource = `/blob/${account}/${container}`;
  const [start, identifier, address, protocol, snapshot, scope] = ['', '', '', '', '', ''];
  const overrides = ['', '', '', '', ''];
  const fields = [permissions, start, expires, resource, identifier, address, protocol];
  return [...fields, SAS_VERSION, 'c', snapshot, scope, ...overrides].join('\n');
}

/** A signature for a container, as a portal would hand it out: the query of a URL. */
export function sharedAccessSignature(keys: AzureKeys, grant: SasGrant): string {
  const { permissions: sp, expires: se } = grant;
  const sig = mac(keys.key, sasText(keys, grant));
  return `${new URLSearchParams({ sv: SAS_VERSION, sr: 'c', sp, se, sig })}`;
}

function neededPermission(method: string, query: URLSearchParams): string {
  if (query.get('comp') === 'list') return 'l';
  if (method === 'DELETE') return 'd';
  return method === 'PUT' ? 'w' : 'r';
}

function checkSas(request: SignedRequest, keys: AzureKeys, nowMs: number): string | undefined {
  const query = new URL(request.target, 'http://any').searchParams;
  const grant = { permissions: query.get('sp') ?? '', expires: query.get('se') ?? '' };
  const isSigned = query.get('sv') === SAS_VERSION && query.get('sr') === 'c';
  if (!isSigned || query.get('sig') !== mac(keys.key, sasText(keys, grant)))
    return 'AuthenticationFailed';
  if (!(Date.parse(grant.expires) > nowMs)) return 'AuthenticationFailed';
  const needed = neededPermission(request.method, query);
  return grant.permissions.includes(needed) ? undefined : 'AuthorizationPermissionMismatch';
}

/** The code of the refusal; `undefined` when the request is good. */
export function checkRequest(
  request: SignedRequest,
  { nowMs, ...keys }: AzureKeys & { readonly nowMs: number },
): string | undefined {
  const { headers, body, target } = request;
  const md5 = headers['content-md5'];
  const isWhole = md5 === undefined || md5 === createHash('md5').update(body).digest('base64');
  if (headers.authorization === undefined) {
    if (!/[?&]sig=/.test(target)) return 'NoAuthenticationInformation';
    return checkSas(request, keys, nowMs) ?? (isWhole ? undefined : 'Md5Mismatch');
  }
  const [, account, signature] = /^SharedKey ([^:]+):(.+)$/.exec(headers.authorization) ?? [];
  if (account !== keys.account) return 'AuthenticationFailed';
  const when = Date.parse(String(headers['x-ms-date'] ?? headers['date']));
  if (!(Math.abs(when - nowMs) <= SKEW_MS_MAX)) return 'AuthenticationFailed';
  if (mac(keys.key, sharedKeyText(request, keys.account)) !== signature)
    return 'AuthenticationFailed';
  return isWhole ? undefined : 'Md5Mismatch';
}
