import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { table } from '../output.ts';

/** What GET /v1/status answers, as far as it is printed. */
export interface ClusterStatus {
  readonly clusterId: string;
  readonly health: 'ok' | 'warning' | 'error';
  readonly reasons: readonly {
    readonly code: string;
    readonly message: string;
    readonly fix?: string;
  }[];
  readonly epoch: number;
  readonly nodes: readonly {
    readonly number: number;
    readonly name: string;
    readonly state: string;
    readonly zone: string;
    readonly wireAddress: string;
  }[];
  readonly shards: readonly {
    readonly shard: number;
    readonly leader: number;
    readonly term: number;
    readonly commit: number;
    readonly applied: number;
    readonly members: readonly number[];
  }[];
  readonly partitions: { readonly settled: number; readonly moving: number };
  readonly volumes: number;
}

/** `holdfast status` */
export function addStatus(program: Command): void {
  program
    .command('status')
    .description('show the health of the cluster, its peers and shards')
    .action(async (_options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const status = await admin<ClusterStatus>('GET', '/v1/status');
      output.result(status, () => describe(status));
    });
}

function describe(status: ClusterStatus): string[] {
  const moving =
    status.partitions.moving === 0
      ? 'all copies in place'
      : `${status.partitions.moving} partitions moving`;
  return [
    `cluster ${status.clusterId}: ${status.health}, map epoch ${status.epoch}, ${status.volumes} volumes, ${moving}`,
    ...status.reasons.map(
      (reason) =>
        `  ${reason.code}: ${reason.message}${reason.fix === undefined ? '' : ` (${reason.fix})`}`,
    ),
    '',
    ...table(
      ['NODE', 'NAME', 'STATE', 'ZONE', 'ADDRESS'],
      status.nodes.map((node) => [
        String(node.number),
        node.name,
        node.state,
        node.zone,
        node.wireAddress,
      ]),
    ),
    '',
    ...table(
      ['SHARD', 'LEADER', 'MEMBERS', 'TERM', 'COMMIT', 'APPLIED'],
      status.shards.map((shard) => [
        shard.shard === 0 ? '0 (system)' : String(shard.shard),
        shard.leader === 0 ? 'none' : String(shard.leader),
        shard.members.join(','),
        String(shard.term),
        String(shard.commit),
        String(shard.applied),
      ]),
    ),
  ];
}
