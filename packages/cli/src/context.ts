import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClusterClient } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { type AdminTarget, callAdmin } from './admin.ts';
import { Output } from './output.ts';

/** Options that every command takes. */
interface GlobalOptions {
  readonly json?: boolean;
  readonly data: string;
  readonly host?: string;
}

/** What a command's action works with. */
export interface Context {
  readonly output: Output;
  readonly dataDirectory: string;
  /** Calls the admin API of the local peer, or of --host. */
  admin<T>(method: string, path: string, body?: unknown): Promise<T>;
}

/** The path of the holdfast launcher, for starting parts as processes of their own. */
export const LAUNCHER = fileURLToPath(new URL('../../../bin/holdfast', import.meta.url));

/** Bytes of chunks that a command keeps: it reads what it reads once, four files beside each other. */
const CACHE_BYTES = 64 * 2 ** 20;

/** Connects a command to the cluster that this host belongs to. */
export async function connectToCluster(dataDirectory: string): Promise<ClusterClient> {
  // Most commands ask the local peer only, and do not wait for this to load.
  const { ClusterClient } = await import('@holdfast/client');
  return ClusterClient.connect({ dataDirectory, cacheBytes: CACHE_BYTES });
}

/** Whether this host belongs to a cluster, as peer or client. */
export function isMember(dataDirectory: string): boolean {
  return existsSync(join(dataDirectory, 'identity', 'identity.json'));
}

/** Reads the global options, wherever on the line they were given. */
export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  if (options.data === '')
    throw new HoldfastError('BAD_REQUEST', '--data is empty; name a directory, or leave it out');
  const target: AdminTarget = {
    dataDirectory: options.data,
    ...(options.host === undefined ? {} : { host: options.host }),
  };
  return {
    output: new Output(options.json === true),
    dataDirectory: options.data,
    admin: (method, path, body) => callAdmin(target, method, path, body),
  };
}
