import { MountMetrics } from '../../packages/fuse-mount/src/metrics.ts';
import {
  driverMetricFacts,
  type MetricFacts,
  metricFacts,
  peerMetricFacts,
} from '../../packages/node/src/telemetry/catalogue.ts';
import { GENERATED, markdownTable } from './markdown.ts';

/** What each label holds; all are bounded in number. */
const LABELS: Readonly<Record<string, string>> = {
  shard: 'number of the shard, 0 is the system shard',
  state: '`up`, `down`, `draining`, `out`',
  reason: 'why a chunk was copied',
  result: 'what became of a command',
  op: 'operation of the kernel, such as `read`, `write`, `fsync`',
  volume: 'name of a volume; of those with a snapshot schedule 1,000 at most, late ones first',
  kind: '`backup`, `prune`, `verify`',
  repository: 'name of a repository that the cluster knows, 1,000 at most',
  call: 'call of the volume plugin protocol, such as `Mount`',
  outcome: '`ok` or an error code of [errors.md](errors.md)',
};

/** docs/metrics.md */
export function metricsPage(): string {
  const mount = metricFacts(new MountMetrics(() => 0).registry);
  const all = [...peerMetricFacts(), ...mount, ...driverMetricFacts()];
  const labels = [...new Set(all.flatMap((metric) => metric.labels))].sort();
  return `${GENERATED}# Metrics

In the text format of Prometheus. A histogram \`x\` is exported as \`x_bucket\`, \`x_sum\` and \`x_count\`.

## Of a peer

At \`/metrics\` of the probe port (\`--port\` + 4, 7404 by default; loopback unless \`--probe-bind\` says
otherwise). The same page has the process's own metrics (\`process_*\`, \`nodejs_*\`).

${section(peerMetricFacts())}
## Of a mount

At \`/metrics\` of the address given to \`holdfast mount --metrics HOST:PORT\`.

${section(mount)}
## Of the volume driver

At \`/metrics\` of the driver's unix socket.

${section(driverMetricFacts())}
## Labels

${markdownTable(
  ['label', 'values'],
  labels.map((label) => [`\`${label}\``, meaningOf(label)]),
)}`;
}

function section(metrics: readonly MetricFacts[]): string {
  return markdownTable(
    ['name', 'type', 'labels', 'unit', 'meaning'],
    metrics.map(({ name, type, labels, help }) => [
      `\`${name}\``,
      type,
      labels.map((label) => `\`${label}\``).join(', '),
      unitOf(name),
      help.replace(/\.$/, ''),
    ]),
  );
}

/** By the names' own rule: the unit comes last, before `_total`. */
function unitOf(name: string): string {
  const last = name
    .replace(/_total$/, '')
    .split('_')
    .at(-1);
  return last === 'seconds' || last === 'bytes' ? last : 'number';
}

function meaningOf(label: string): string {
  const meaning = LABELS[label];
  if (meaning === undefined) throw new RangeError(`say in ${import.meta.url} what '${label}' is`);
  return meaning;
}
