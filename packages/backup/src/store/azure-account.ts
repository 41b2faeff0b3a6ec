/** Which storage account of Azure: from the names of restic, or a connection string of Azure's tools. */
import { HoldfastError } from '@holdfast/protocol';
import { endpointUrl } from './store-client.ts';

/** A storage account, and what its requests are allowed by. */
export interface AzureAccount {
  readonly name: string;
  /** Of its blobs: `https://NAME.blob.core.windows.net`, `http://127.0.0.1:10000/NAME`. */
  readonly endpoint: string;
  /** One of the two keys of the account, base64. */
  readonly key?: string;
  /** A shared access signature, the query of a URL without its `?`; used where there is no key. */
  readonly sas?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const SUFFIX = 'core.windows.net';

function bad(text: string): HoldfastError {
  return new HoldfastError('BAD_CONFIG', text);
}

interface Fields {
  readonly name: string | undefined;
  readonly key: string | undefined;
  readonly sas: string | undefined;
  readonly suffix: string | undefined;
  readonly protocol?: string | undefined;
  readonly endpoint: string | undefined;
}

/** `AccountName=…;AccountKey=…;EndpointSuffix=…` (learn.microsoft.com, "Configure connection strings"). */
function connectionFields(text: string): Fields {
  const fields = new Map(
    text
      .split(';')
      .filter((part) => part.trim() !== '')
      .map((part) => {
        const at = part.indexOf('=');
        return [part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).trim()] as const;
      }),
  );
  return {
    name: fields.get('accountname'),
    key: fields.get('accountkey'),
    sas: fields.get('sharedaccesssignature'),
    suffix: fields.get('endpointsuffix'),
    protocol: fields.get('defaultendpointsprotocol'),
    endpoint: fields.get('blobendpoint'),
  };
}

function fieldsOf(env: Environment): Fields | undefined {
  const name = env['AZURE_ACCOUNT_NAME'];
  if (name)
    return {
      name,
      key: env['AZURE_ACCOUNT_KEY'],
      sas: env['AZURE_ACCOUNT_SAS'],
      suffix: env['AZURE_ENDPOINT_SUFFIX'],
      endpoint: undefined,
    };
  const connection = env['AZURE_STORAGE_CONNECTION_STRING'];
  return connection ? connectionFields(connection) : undefined;
}

/** The name of an account out of the address of its blobs: the first of the host, or of the path. */
function nameIn(endpoint: URL): string {
  const [first = ''] = endpoint.pathname.split('/').filter((part) => part !== '');
  return first || (endpoint.hostname.split('.')[0] ?? '');
}

/**
 * The account that the environment names: AZURE_ACCOUNT_NAME with AZURE_ACCOUNT_KEY or
 * AZURE_ACCOUNT_SAS (and AZURE_ENDPOINT_SUFFIX), else AZURE_STORAGE_CONNECTION_STRING. `endpoint` takes
 * the place of the address that follows from these. BAD_CONFIG.
 */
export function azureAccount(env: Environment = process.env, endpoint?: string): AzureAccount {
  const fields = fieldsOf(env);
  if (fields === undefined)
    throw bad(
      'no account of Azure: set AZURE_ACCOUNT_NAME and AZURE_ACCOUNT_KEY (or AZURE_ACCOUNT_SAS), or AZURE_STORAGE_CONNECTION_STRING',
    );
  const { key, suffix = SUFFIX, protocol = 'https' } = fields;
  const given = endpoint ?? fields.endpoint;
  const name = fields.name ?? (given === undefined ? '' : nameIn(endpointUrl(given)));
  if (!/^[a-z0-9]{3,24}$/.test(name))
    throw bad(`'${name}' cannot be an account of Azure: 3 to 24 lower case letters and digits`);
  const sas = fields.sas?.replace(/^\?/, '');
  if (!key && !sas)
    throw bad(`nothing opens the account ${name}: set AZURE_ACCOUNT_KEY or AZURE_ACCOUNT_SAS`);
  if (key && !/^[A-Za-z0-9+/]+={0,2}$/.test(key))
    throw bad('AZURE_ACCOUNT_KEY is not in base64, as the keys of accounts are');
  if (!key && !/(?:^|&)sig=/.test(sas ?? ''))
    throw bad('AZURE_ACCOUNT_SAS is no shared access signature: it has no sig=');
  return {
    name,
    endpoint: given ?? `${protocol}://${name}.blob.${suffix || SUFFIX}`,
    ...(key ? { key } : {}),
    ...(sas ? { sas } : {}),
  };
}
