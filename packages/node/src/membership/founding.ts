/** The first start of the first peer: it tells its new system shard what init decided. */
import type { NodeFacts } from '@holdfast/placement';
import { HoldfastError } from '@holdfast/protocol';
import { describeCertificate } from './certificates.ts';
import { forgetFounding, type Identity } from './identity.ts';
import type { Registry } from './registry.ts';

/** May be cut short at any point and repeated. */
export async function found(
  dataDirectory: string,
  identity: Identity,
  facts: NodeFacts,
  registry: Registry,
): Promise<void> {
  const { founding, clusterId, clusterName } = identity;
  if (founding === undefined) return;
  const { serial } = describeCertificate(identity.tls.cert).identity;
  const { volumeShards, tokens } = founding;
  await registry.execute({
    op: 'init-cluster',
    clusterId,
    name: clusterName,
    volumeShards,
    node: facts,
    serial,
  });
  for (const token of tokens) {
    try {
      await registry.execute({ op: 'create-token', token });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'EEXIST') throw error;
    }
  }
  await forgetFounding(dataDirectory);
}
