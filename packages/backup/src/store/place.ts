/** Places of repositories as users write them, in restic's notation. */
import { HoldfastError } from '@holdfast/protocol';
import { type AzureOptions, AzureStore } from './azure.ts';
import { type AzureAccount, azureAccount } from './azure-account.ts';
import { DirectoryStore } from './directory.ts';
import { type S3Options, S3Store } from './s3.ts';
import type { Store } from './store.ts';

const FORMS =
  '/directory, local:/directory, s3:https://HOST/BUCKET/PREFIX, s3:HOST/BUCKET/PREFIX, azure:CONTAINER:/PREFIX or azure://CONTAINER/PREFIX';

function badPlace(place: string): HoldfastError {
  return new HoldfastError('BAD_CONFIG', `${place} is no place for a repository; write ${FORMS}`);
}

/** What the stores at places are made with, beside the place. */
export interface PlacedOptions extends Omit<S3Options, 'endpoint' | 'bucket' | 'prefix'> {
  /** Asked when the place is in Azure; without it the environment tells. */
  readonly account?: () => AzureAccount;
}

/** Endpoint, bucket and prefix of `s3:…`; BAD_CONFIG when malformed. */
export function parseS3Place(place: string): Pick<S3Options, 'endpoint' | 'bucket' | 'prefix'> {
  const text = place.slice('s3:'.length);
  const address = /^https?:\/\//.test(text) ? text : `https://${text.replace(/^\/\//, '')}`;
  const url = URL.parse(address);
  if (url === null || url.username !== '' || url.search !== '') throw badPlace(place);
  const [bucket = '', ...prefix] = url.pathname.split('/').filter((part) => part !== '');
  if (bucket === '') throw badPlace(place);
  return { endpoint: url.origin, bucket, prefix: prefix.join('/') };
}

/** Container and prefix of `azure:…`; BAD_CONFIG when malformed. */
export function parseAzurePlace(place: string): Pick<AzureOptions, 'container' | 'prefix'> {
  const ours = /^azure:\/\/([^/:]+)(?:\/(.*))?$/s.exec(place);
  const [, container, path = ''] = ours ?? /^azure:([^/:]+):(.*)$/s.exec(place) ?? [];
  if (container === undefined) throw badPlace(place);
  return { container, prefix: path.split('/').filter(Boolean).join('/') };
}

/**
 * The store at a place: an absolute directory, `local:/directory`, `s3:[https://]HOST/BUCKET[/PREFIX]`,
 * `azure:CONTAINER:/[PREFIX]` or `azure://CONTAINER[/PREFIX]`. BAD_CONFIG when malformed, ENOTSUP for
 * a scheme of restic's that is not built in.
 */
export function storeAt(place: string, options: PlacedOptions): Store {
  if (place.startsWith('s3:')) return new S3Store({ ...options, ...parseS3Place(place) });
  if (place.startsWith('azure:')) {
    const { account = azureAccount } = options;
    return new AzureStore({ ...options, account: account(), ...parseAzurePlace(place) });
  }
  const path = place.startsWith('local:') ? place.slice('local:'.length) : place;
  if (path.startsWith('/')) return new DirectoryStore(path);
  if (/^(?:gs|b2|rest|sftp|swift|rclone):/.test(place))
    throw new HoldfastError('ENOTSUP', `${place}: only directories, S3 and Azure are built in`);
  throw badPlace(place);
}
