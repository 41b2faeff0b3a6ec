import { HoldfastError } from '@holdfast/protocol';
import { type Command, Option } from 'commander';
import { contextOf } from '../context.ts';
import { type PeerOptions, peerFields, withPeerOptions } from './init.ts';

interface JoinOptions extends PeerOptions {
  readonly peer: string;
  readonly role?: 'node' | 'client';
}

/** `holdfast join` */
export function addJoin(program: Command): void {
  const join = program
    .command('join [token]')
    .description('make this host a member of a cluster (token: argument or HOLDFAST_JOIN_TOKEN)')
    .addOption(
      new Option('--peer <host:port>', 'any peer of the cluster, its first port')
        .env('HOLDFAST_JOIN_PEER')
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--role <role>', 'node keeps data, client only mounts').choices([
        'node',
        'client',
      ]),
    );
  withPeerOptions(join).action(
    async (token: string | undefined, options: JoinOptions, command: Command) => {
      await joinHere(command, token ?? process.env['HOLDFAST_JOIN_TOKEN'] ?? '', options);
    },
  );
}

/** Joins with the data directory of the command line. */
export async function joinHere(
  command: Command,
  token: string,
  options: JoinOptions,
): Promise<void> {
  const { dataDirectory, output } = contextOf(command);
  if (token === '')
    throw new HoldfastError(
      'BAD_TOKEN',
      "no token given; 'holdfast token create' on a member prints one",
    );
  if (options.peer === '')
    throw new HoldfastError(
      'BAD_REQUEST',
      'no peer given; name one with --peer HOST:PORT or HOLDFAST_JOIN_PEER',
    );
  const { joinCluster } = await import('@holdfast/node');
  const role = options.role ?? 'node';
  const joined = await joinCluster({
    dataDirectory,
    token,
    peer: options.peer,
    role,
    ...peerFields(options),
  });
  output.result(joined, () => [
    `joined cluster ${joined.clusterId} as ${role} '${joined.name}'; start it with 'holdfast ${role === 'node' ? 'run' : 'mount'}'`,
  ]);
}
