/** Places of repositories as users write them, in restic's notation. */
import { HoldfastError } from '@holdfast/protocol';
import { DirectoryStore } from './directory.ts';
import { type S3Options, S3Store } from './s3.ts';
import type { Store } from './store.ts';

const FORMS =
  '/directory, local:/directory, s3:https://HOST/BUCKET/PREFIX or s3:HOST/BUCKET/PREFIX';

function badPlace(place: string): HoldfastError {
  return new HoldfastError('BAD_CONFIG', `${place} is no place for a repository; write ${FORMS}`);
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

/**
 * The store at a place: an absolute directory, `local:/directory`, or `s3:[https://]HOST/BUCKET[/PREFIX]`.
 * `options` are those of the S3 store. BAD_CONFIG when malformed, ENOTSUP for a scheme of restic's
 * that is not built in.
 */
export function storeAt(
  place: string,
  options: Omit<S3Options, 'endpoint' | 'bucket' | 'prefix'>,
): Store {
  if (place.startsWith('s3:')) return new S3Store({ ...options, ...parseS3Place(place) });
  const path = place.startsWith('local:') ? place.slice('local:'.length) : place;
  if (path.startsWith('/')) return new DirectoryStore(path);
  if (/^(?:azure|gs|b2|rest|sftp|swift|rclone):/.test(place))
    throw new HoldfastError('ENOTSUP', `${place}: only directories and S3 are built in`);
  throw badPlace(place);
}
