/** Certificates are renewed when a third of their life is left. */
import { HoldfastError } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import { RpcClient } from '../rpc/client.ts';
import { type RenewAnswer, RPC } from '../rpc/messages.ts';
import { splitAddress } from './addresses.ts';
import { isDueForRenewal, issue, newSerial, renewalRequest } from './certificates.ts';
import { type Identity, readIdentity, replaceCertificate } from './identity.ts';
import type { Registry } from './registry.ts';

/** A peer's own renewal: it holds the authority, and tells the registry the new serial first. */
export async function renewPeer(
  dataDirectory: string,
  identity: Identity,
  registry: Registry,
  now: number,
): Promise<TlsMaterial | undefined> {
  const { authority, tls, node, clusterId, name, settings } = identity;
  if (!isDueForRenewal(tls.cert, now) || authority === undefined || node === undefined)
    return undefined;
  const serial = newSerial();
  await registry.execute({ op: 'note-certificate', node, serial });
  const hosts = settings === undefined ? [name] : [name, settings.address];
  const subject = { clusterId, role: 'node', node, name, hosts } as const;
  const cert = await issue(authority, await renewalRequest(tls.key), subject, { serial, now });
  await replaceCertificate(dataDirectory, cert);
  return { ...tls, cert };
}

/**
 * Renews the certificate of a host that is a client, by way of any peer at `addresses` (host:port of
 * gRPC). Answers whether it was due. Throws NOT_FOUND without an identity, UNREACHABLE.
 */
export async function renewClient(
  dataDirectory: string,
  addresses: readonly string[],
  now: number,
): Promise<boolean> {
  const identity = await readIdentity(dataDirectory);
  if (identity === undefined)
    throw new HoldfastError('NOT_FOUND', `no cluster in ${dataDirectory}`);
  const { tls, clusterId } = identity;
  if (!isDueForRenewal(tls.cert, now)) return false;
  const request = await renewalRequest(tls.key);
  let failure = new HoldfastError('UNREACHABLE', 'no peer to ask for a new certificate is known');
  for (const address of addresses) {
    splitAddress(address);
    const client = new RpcClient({ address, clusterId, tls });
    try {
      const { cert } = await client.call<RenewAnswer>(RPC.renew, { request });
      await replaceCertificate(dataDirectory, cert);
      return true;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.kind !== 'outage') throw error;
      failure = error;
    } finally {
      client.close();
    }
  }
  throw failure;
}
