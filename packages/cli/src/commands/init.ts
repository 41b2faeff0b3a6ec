import { hostname } from 'node:os';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseCount } from '../sizes.ts';

/** Options of `init` and, for the most part, of `join`. */
export interface PeerOptions {
  readonly name?: string;
  readonly address?: string;
  readonly port?: number;
  readonly zone?: string;
}

/** Adds the options that describe a new peer. */
export function withPeerOptions(command: Command): Command {
  return command
    .option('--name <name>', "the peer's name in the cluster (default: this host's name)")
    .option(
      '--address <host>',
      'the address that other hosts reach it by (default: the first of this host)',
    )
    .option(
      '--port <port>',
      'first of the five ports it uses (default 7400)',
      parseCount('--port', 1, 65_531),
    )
    .option('--zone <zone>', 'failure domain, such as a rack (default: its name)');
}

/** `holdfast init` */
export function addInit(program: Command): void {
  withPeerOptions(
    program.command('init').description('begin a cluster with this host as its first peer'),
  ).action(async (options: PeerOptions, command: Command) => {
    await initHere(command, options);
  });
}

/** Begins a cluster in the data directory of the command line and prints the tokens. */
export async function initHere(command: Command, options: PeerOptions): Promise<void> {
  const { dataDirectory, output } = contextOf(command);
  const { initCluster } = await import('@holdfast/node');
  const made = await initCluster({ dataDirectory, ...peerFields(options) });
  output.result(made, () => [
    `cluster ${made.clusterId} begun in ${dataDirectory}; start this peer with 'holdfast run'`,
    'other hosts join with:',
    `  holdfast join ${made.tokens.node} --peer ${made.grpcAddress}`,
  ]);
}

/** The fields of a new peer, with defaults from environment and host. */
export function peerFields(options: PeerOptions): {
  name: string;
  address?: string;
  port?: number;
  zone?: string;
} {
  const address = options.address ?? process.env['HOLDFAST_ADDRESS'];
  const port = options.port ?? numberFrom(process.env['HOLDFAST_PORT']);
  const zone = options.zone ?? process.env['HOLDFAST_ZONE'];
  return {
    name: options.name ?? process.env['HOLDFAST_NAME'] ?? hostname(),
    ...(address === undefined || address === '' ? {} : { address }),
    ...(port === undefined ? {} : { port }),
    ...(zone === undefined || zone === '' ? {} : { zone }),
  };
}

function numberFrom(text: string | undefined): number | undefined {
  return text === undefined || text === ''
    ? undefined
    : parseCount('HOLDFAST_PORT', 1, 65_531)(text);
}
