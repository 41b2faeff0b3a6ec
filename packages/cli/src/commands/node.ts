import type { ClusterStatus } from '@holdfast/node';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { endSoon, stopSignal } from '../stop-signal.ts';
import { nodeLines } from './status.ts';

/** Flags of the peer that are handed to its configuration as they are. */
const FLAGS = {
  '--config <file>': 'configuration file (default: /etc/holdfast/holdfast.yaml if there)',
  '--bind <ip>': 'IP address to listen on (default: all)',
  '--probe-bind <ip>':
    'IP address of /healthz, /readyz and /metrics in plain HTTP (default: 127.0.0.1)',
  '--log-level <level>': 'error, warn, info (default), debug, trace or silent',
  '--down-after <duration>': 'silence after which a peer is down (default: 5s)',
  '--out-after <duration>': 'time down after which its data is copied elsewhere (default: 10m)',
  '--capacity <size>': 'bytes that chunks may take (default: all of the disk)',
  '--repair-interval <duration>':
    'time between comparisons of chunks with other peers (default: 10s)',
  '--repair-rate <size>':
    'bytes per second that repair copies at most (default: 100M; 0: no limit)',
  '--orphan-age <duration>':
    'time after which chunks of writes that were given up are freed (default: 1d)',
  '--no-discovery': 'do without kad-dht: peers are found by the addresses on disk only',
} as const;

/** `holdfast node`: alone it runs the peer; its sub-commands ask about peers. */
export function addNode(program: Command): void {
  const node = program
    .command('node')
    .description('run the storage peer of this host in the foreground');
  for (const [flags, description] of Object.entries(FLAGS)) node.option(flags, description);
  node.action(async (options: Record<string, unknown>, command: Command) => {
    const { dataDirectory } = contextOf(command);
    const { loadConfig, startNode } = await import('@holdfast/node');
    // What peers keep (state of the system shard: passwords of repositories) is for root alone.
    process.umask(0o077);
    const peer = await startNode(
      loadConfig({
        flags: { ...flagsOf(options), data: dataDirectory },
        environment: process.env,
        ...(typeof options['config'] === 'string' ? { file: options['config'] } : {}),
      }),
    );
    const failure = await Promise.race([stopSignal().then(() => undefined), peer.failed]);
    await peer.close();
    endSoon();
    if (failure !== undefined) throw failure;
  });
  node
    .command('ls')
    .description('list the peers')
    .action(async (_options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const { nodes } = await admin<ClusterStatus>('GET', '/v1/status');
      output.result(nodes, () => nodeLines(nodes));
    });
  node
    .command('rm <peer>')
    .description('forget a peer for good: its data is copied elsewhere, its certificates end')
    .option('--force', 'even when it is up')
    .action(async (peer: string, options: { force?: boolean }, command: Command) => {
      const { admin, output } = contextOf(command);
      const { nodes } = await admin<ClusterStatus>('GET', '/v1/status');
      const found = nodes.find(({ number, name }) => String(number) === peer || name === peer);
      if (found === undefined) {
        const names = nodes.map(({ name }) => name).join(', ');
        throw new HoldfastError('NOT_FOUND', `there is no peer '${peer}'; these are: ${names}`);
      }
      const query = options.force === true ? '?force=true' : '';
      await admin('DELETE', `/v1/nodes/${found.number}${query}`);
      output.result({ removed: found.name, number: found.number }, () => [
        `peer ${found.name} is removed; volumes are no longer in use there`,
      ]);
    });
}

/** Commander's names back to the configuration's; `--no-discovery` is `discovery: false`. */
function flagsOf(options: Record<string, unknown>): Record<string, unknown> {
  const { config: _config, discovery, ...rest } = options;
  const flags = Object.entries(rest).map(([name, value]) => [
    name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    value,
  ]);
  return { ...Object.fromEntries(flags), ...(discovery === false ? { discovery: false } : {}) };
}
