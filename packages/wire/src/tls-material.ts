import { createPrivateKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import type { TlsMaterial } from './identity.ts';

/**
 * Checks what was read from ca.pem, cert.pem and key.pem of a directory: each is whole, the key is the
 * certificate's, and the authority signed it. TLS itself would begin with some of these wrong, and then
 * refuse every connection. Throws CORRUPT, naming the file.
 */
export function checkTlsMaterial({ ca, cert, key }: TlsMaterial, directory: string): void {
  const authority = whole(join(directory, 'ca.pem'), () => new X509Certificate(ca));
  const own = whole(join(directory, 'cert.pem'), () => new X509Certificate(cert));
  const secret = whole(join(directory, 'key.pem'), () => createPrivateKey(key));
  if (!own.checkPrivateKey(secret))
    throw damaged(`${join(directory, 'key.pem')} is not the key of cert.pem beside it`);
  if (!own.verify(authority.publicKey))
    throw damaged(`${join(directory, 'cert.pem')} was not signed by ca.pem beside it`);
}

function whole<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw damaged(`${path} is damaged`, cause);
  }
}

function damaged(what: string, cause?: unknown): HoldfastError {
  const text = `${what}; restore it, or empty the data directory and join the cluster again`;
  return new HoldfastError('CORRUPT', text, { cause });
}
