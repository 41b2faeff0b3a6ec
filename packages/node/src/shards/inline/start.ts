import { ChunkReader, ChunkWriter } from '@holdfast/chunks';
import type { Registry as MetricsRegistry } from 'prom-client';
import type { Registry } from '../../membership/registry.ts';
import type { Teardown } from '../../teardown.ts';
import type { InlineDestination } from './inline-mover.ts';
import { InlineMetrics } from './metrics.ts';
import { PeerCluster, type PeerClusterOptions } from './peer-cluster.ts';
import { VolumePolicies } from './policies.ts';

/** What {@link openInlineDestination} works with. */
export interface InlineParts {
  readonly peers: PeerClusterOptions;
  readonly registry: Pick<Registry, 'view'>;
  readonly metrics: MetricsRegistry;
  readonly teardown: Teardown;
}

/** Where the shards of a peer move small writes to: chunks on the peers of the cluster. */
export function openInlineDestination(parts: InlineParts): InlineDestination {
  const { peers, registry, metrics, teardown } = parts;
  const cluster = new PeerCluster(peers);
  teardown.add('inline chunks', () => cluster.close());
  const policies = new VolumePolicies({
    list: async () => (await registry.view({ view: 'volumes' })).volumes,
    nowMs: () => performance.now(),
  });
  const writer = new ChunkWriter(cluster);
  const reader = new ChunkReader(cluster);
  return {
    chunks: {
      write: (...asked) => writer.write(...asked),
      barred: (before) => writer.barred(before),
      read: (...asked) => reader.read(...asked),
    },
    policyOf: (volume) => policies.of(volume),
    metrics: new InlineMetrics(metrics),
  };
}
