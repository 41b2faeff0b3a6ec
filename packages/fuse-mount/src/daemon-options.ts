import { isAbsolute, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { HoldfastError, parseHostPort } from '@holdfast/protocol';

/** Arguments of the mount daemon. */
export interface DaemonOptions {
  readonly descriptor: number;
  readonly mountpoint: string;
  readonly stateDirectory: string;
  readonly dataDirectory: string;
  readonly addresses: readonly string[];
  /** Program that renews the certificate; none: it is only taken up when others have. */
  readonly renewBy?: string;
  readonly operationWaitMs?: number;
  readonly metrics?: { readonly host: string; readonly port: number };
}

const USAGE =
  'mount daemon: --mountpoint PATH --state DIR --data DIR [--device FD] [--address HOST:PORT]... [--wait MS] [--renew-by PROGRAM] [--metrics HOST:PORT]';

const OPTIONS = {
  device: { type: 'string', default: '3' },
  mountpoint: { type: 'string' },
  state: { type: 'string' },
  data: { type: 'string' },
  address: { type: 'string', multiple: true, default: [] as string[] },
  wait: { type: 'string' },
  metrics: { type: 'string' },
  'renew-by': { type: 'string' },
} as const;

/** Parses the command line. Throws BAD_REQUEST with one sentence and the usage. */
export function parseDaemonOptions(args: readonly string[]): DaemonOptions {
  const values = parse(args);
  const mountpoint = absolute('--mountpoint', values.mountpoint);
  const stateDirectory = absolute('--state', values.state);
  if (isBelow(stateDirectory, mountpoint)) {
    throw bad(`--state ${stateDirectory} lies in the mount itself, where it would wait for itself`);
  }
  const renewal = values['renew-by'];
  const wait = values.wait === undefined ? undefined : whole('--wait', values.wait, 86_400_000);
  return {
    descriptor: whole('--device', values.device, 1_048_576),
    mountpoint,
    stateDirectory,
    dataDirectory: absolute('--data', values.data),
    addresses: values.address.map((address) => hostPort('--address', address).text),
    ...(renewal !== undefined && { renewBy: absolute('--renew-by', renewal) }),
    ...(wait !== undefined && { operationWaitMs: wait }),
    ...(values.metrics !== undefined && { metrics: hostPort('--metrics', values.metrics) }),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw bad(error instanceof Error ? error.message : String(error));
  }
}

function bad(message: string): HoldfastError {
  return new HoldfastError('BAD_REQUEST', `${message}\n${USAGE}`);
}

function absolute(name: string, value: string | undefined): string {
  if (value === undefined) throw bad(`${name} is missing`);
  if (!isAbsolute(value)) throw bad(`${name} ${value} is not an absolute path`);
  return value;
}

function whole(name: string, value: string, max: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (!(number <= max)) throw bad(`${name} ${value} is no whole number from 0 to ${max}`);
  return number;
}

function hostPort(name: string, value: string): { host: string; port: number; text: string } {
  const found = parseHostPort(value);
  if (found === undefined) throw bad(`${name} ${value} is not HOST:PORT`);
  return { ...found, text: value };
}

function isBelow(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === '' || (!way.startsWith('..') && !isAbsolute(way));
}
