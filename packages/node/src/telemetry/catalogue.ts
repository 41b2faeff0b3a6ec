/** Every metric that Holdfast has, without a peer that runs: for the reference in docs/metrics.md. */
import { ClusterState } from '@holdfast/placement';
import { type Metric, Registry } from 'prom-client';
import { ChunkMetrics } from '../chunks/metrics.ts';
import { ConsensusMetrics } from '../consensus/metrics.ts';
import { BackupJobMetrics } from '../membership/backup-job-metrics.ts';
import { BackupWatch } from '../membership/backup-watch.ts';
import { ScheduleMetrics } from '../membership/schedule-metrics.ts';
import { OrphanMetrics, RepairMetrics } from '../repair/metrics.ts';
import { InlineMetrics } from '../shards/inline/metrics.ts';
import { DriverMetrics } from '../volume-driver/metrics.ts';
import { observeNode } from './metrics.ts';

/** A metric as it is registered. */
export interface MetricFacts {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labels: readonly string[];
}

/** Metrics of the peer, at /metrics of its probe port; those of the process itself are left out. */
export function peerMetricFacts(): readonly MetricFacts[] {
  const registry = new Registry();
  const none = (): number => 0;
  observeNode(registry, {
    map: () => undefined,
    shards: () => [],
    volumes: none,
    isHeard: () => false,
  });
  new ConsensusMetrics(registry).observe({
    wal: { segmentCount: 0, isFull: false },
    proposals: () => [],
    sessions: () => [],
  });
  new ChunkMetrics(registry, {
    storedChunks: none,
    liveBytes: none,
    deadBytes: none,
    damagedChunks: none,
    pendingBytes: none,
  });
  new RepairMetrics(registry, () => ({ behindPartitions: 0, missingChunks: 0 }));
  new OrphanMetrics(registry);
  new InlineMetrics(registry);
  new ScheduleMetrics(registry, () => []);
  const nobody = { isLeader: false, applied: () => new ClusterState() };
  new BackupWatch({
    registry: nobody,
    jobs: { ofVolume: () => undefined },
    metrics: registry,
    now: none,
  });
  new BackupJobMetrics(registry, { volumes: () => [], repositories: () => [] });
  return metricFacts(registry).filter(({ name }) => name.startsWith('holdfast_'));
}

/** Metrics of the volume driver, at /metrics of its socket. */
export function driverMetricFacts(): readonly MetricFacts[] {
  return metricFacts(new DriverMetrics(() => 0).registry);
}

/** What is registered there, by name. */
export function metricFacts(registry: Registry): readonly MetricFacts[] {
  // The registry keeps the metrics themselves; its types show less of them than they have.
  const metrics = registry.getMetricsAsArray() as unknown as readonly (Metric & {
    readonly name: string;
    readonly help: string;
    readonly labelNames?: readonly string[];
  })[];
  return metrics
    .map((metric) => ({
      name: metric.name,
      help: metric.help,
      type: metric.constructor.name.toLowerCase(),
      labels: metric.labelNames ?? [],
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
