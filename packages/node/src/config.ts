/** What a peer runs with: flags, then HOLDFAST_* variables, then the file, then what init or join wrote, then defaults. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { checkOwnAddress } from './membership/addresses.ts';
import { DATA_NAMES } from './membership/data-directory.ts';
import type { PeerSettings } from './membership/identity.ts';
import { REPAIR_DEFAULTS } from './repair/limits.ts';

/** Where the file is looked for when nothing else is said. */
const CONFIG_PATH = '/etc/holdfast/holdfast.yaml';
/** Where data lies when nothing else is said. */
const DATA_PATH = '/var/lib/holdfast';

const LOG_LEVELS = ['error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
const TEXT = z.union(
  [z.string().min(1, 'it must not be empty'), z.number().transform(String)],
  'a text is needed',
);
const IP = z
  .string('an IP address is needed')
  .refine((text) => isIP(text) !== 0, 'an IP address of this host is needed, such as 0.0.0.0');
const ADDRESS = TEXT.superRefine((text, context) => {
  try {
    checkOwnAddress(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
  }
});

/** Each key is a flag (--out-after), a variable (HOLDFAST_OUT_AFTER) and a key of the file (out-after). */
const KEYS = {
  data: TEXT.transform(String).describe('data directory'),
  name: TEXT.describe("the peer's name; given at init or join, it must stay"),
  address: ADDRESS.describe('host name or IP address that other hosts reach this one by'),
  bind: IP.describe('IP address to listen on; all by default'),
  port: wholeNumber(1, 65_531).describe('first of the five ports'),
  zone: TEXT.describe('failure domain'),
  weight: z.coerce.number().positive().max(1_000_000).describe('relative share of data'),
  'log-level': z
    .enum(LOG_LEVELS, `one of ${LOG_LEVELS.join(', ')} is needed`)
    .describe('least important event that is logged'),
  'probe-bind': IP.describe('IP address of /healthz, /readyz and /metrics in plain HTTP'),
  'down-after': duration(1_000, 3_600_000).describe('silence after which a peer is down'),
  'out-after': duration(1_000, 30 * 86_400_000).describe(
    'time down after which data is copied elsewhere',
  ),
  discovery: z
    .union([z.boolean(), z.stringbool()])
    .describe('find peers by kad-dht when their addresses change'),
  capacity: size().describe('bytes that chunks may take; 0: all of the disk'),
  'repair-interval': duration(1_000, 3_600_000).describe(
    'time between comparisons of chunks with other peers',
  ),
  'repair-rate': size().describe('bytes per second that repair copies at most; 0: no limit'),
  'orphan-age': duration(1_000, 30 * 86_400_000).describe(
    'time after which chunks that nothing names are freed',
  ),
} as const;

const SCHEMA = z.strictObject(KEYS).partial();

/** Keys of the file that other processes of the host read. */
const FOREIGN_KEYS = ['mount', 'mount-path', 'driver', 'operation-wait'];

/** Everything a peer runs with, complete. Times are milliseconds. */
export interface NodeConfig {
  readonly dataDirectory: string;
  /** Only to be compared with the identity. */
  readonly name?: string;
  /** Address, port, zone and weight where given here; what init or join wrote holds otherwise. */
  readonly overrides: Partial<PeerSettings>;
  /** IP address to listen on. */
  readonly bind: string;
  readonly probeBind: string;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly downAfterMs: number;
  readonly outAfterMs: number;
  readonly discovery: boolean;
  /** Bytes; 0: all of the disk. */
  readonly capacityBytes: number;
  readonly repairIntervalMs: number;
  /** Infinity: no limit. */
  readonly repairBytesPerSecond: number;
  readonly orphanAgeMs: number;
  readonly adminSocket: string;
}

/** Where {@link loadConfig} reads. */
export interface ConfigSources {
  /** By key, as given on the command line. */
  readonly flags?: Readonly<Record<string, unknown>>;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Path of a file that must exist; CONFIG_PATH may be absent. */
  readonly file?: string;
}

/** Reads, checks and merges. Throws BAD_CONFIG with one sentence that names the source. */
export function loadConfig(sources: ConfigSources = {}): NodeConfig {
  const environment = sources.environment ?? {};
  const path = sources.file ?? environment['HOLDFAST_CONFIG'];
  const merged = {
    ...checked(fromFile(path), `in ${path ?? CONFIG_PATH}`, (key) => key),
    ...checked(fromEnvironment(environment), 'in the environment', variableOf),
    ...checked(withoutUndefined(sources.flags ?? {}), 'on the command line', (key) => `--${key}`),
  };
  return complete(merged);
}

function complete(given: z.infer<typeof SCHEMA>): NodeConfig {
  const dataDirectory = given.data ?? DATA_PATH;
  const { address, port, zone, weight } = given;
  return {
    dataDirectory,
    ...(given.name === undefined ? {} : { name: given.name }),
    overrides: withoutUndefined({ address, port, zone, weight }) as Partial<PeerSettings>,
    bind: given.bind ?? '0.0.0.0',
    probeBind: given['probe-bind'] ?? '127.0.0.1',
    logLevel: given['log-level'] ?? 'info',
    downAfterMs: given['down-after'] ?? 5_000,
    outAfterMs: given['out-after'] ?? 600_000,
    discovery: given.discovery ?? true,
    capacityBytes: given.capacity ?? 0,
    repairIntervalMs: given['repair-interval'] ?? REPAIR_DEFAULTS.intervalMs,
    repairBytesPerSecond:
      (given['repair-rate'] ?? REPAIR_DEFAULTS.bytesPerSecond) || Number.POSITIVE_INFINITY,
    orphanAgeMs: given['orphan-age'] ?? 86_400_000,
    adminSocket: join(dataDirectory, DATA_NAMES.adminSocket),
  };
}

function fromFile(path: string | undefined): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path ?? CONFIG_PATH, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (path === undefined && code === 'ENOENT') return {};
    throw new HoldfastError(
      'BAD_CONFIG',
      `cannot read ${path ?? CONFIG_PATH} (${code}); correct --config or HOLDFAST_CONFIG`,
      { cause },
    );
  }
  const parsed = parseFile(text, path ?? CONFIG_PATH);
  return Object.fromEntries(Object.entries(parsed).filter(([key]) => !FOREIGN_KEYS.includes(key)));
}

function parseFile(text: string, path: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = parseYaml(text) ?? {};
  } catch (cause) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `${path} is not YAML: ${(cause as Error).message.split('\n')[0]}`,
      { cause },
    );
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
    return parsed as Record<string, unknown>;
  throw new HoldfastError(
    'BAD_CONFIG',
    `${path} must hold keys and values, such as 'zone: rack-1'`,
  );
}

function fromEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, unknown> {
  const keys = Object.keys(KEYS).map((key) => [key, environment[variableOf(key)]] as const);
  // An empty variable is how compose files say 'not set'. Others of our prefix belong to other commands.
  return Object.fromEntries(keys.filter(([, value]) => value !== undefined && value !== ''));
}

function variableOf(key: string): string {
  return `HOLDFAST_${key.toUpperCase().replaceAll('-', '_')}`;
}

function checked(
  values: Record<string, unknown>,
  where: string,
  shown: (key: string) => string,
): z.infer<typeof SCHEMA> {
  const unknown = Object.keys(values).find((key) => !Object.hasOwn(KEYS, key));
  if (unknown !== undefined) {
    const near = nearest(unknown, Object.keys(KEYS));
    throw new HoldfastError(
      'BAD_CONFIG',
      `unknown key '${shown(unknown)}' ${where}; did you mean '${shown(near)}'?`,
    );
  }
  const result = SCHEMA.safeParse(values);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const key = String(issue?.path[0] ?? '');
  throw new HoldfastError(
    'BAD_CONFIG',
    `wrong value '${String(values[key])}' for '${shown(key)}' ${where}: ${issue?.message}`,
  );
}

function withoutUndefined<T extends object>(values: T): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** The candidate with the fewest letters to change. */
export function nearest(word: string, candidates: readonly string[]): string {
  const [first] = [...candidates].sort((a, b) => distance(word, a) - distance(word, b));
  return first ?? '';
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function wholeNumber(low: number, high: number): z.ZodType<number> {
  const allowed = `a whole number from ${low} to ${high} is needed`;
  return z
    .union([z.number(), z.string().regex(/^\d+$/, allowed).transform(Number)], allowed)
    .pipe(z.int(allowed).min(low, allowed).max(high, allowed));
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZE_UNITS: Readonly<Record<string, number>> = {
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  P: 2 ** 50,
};

/** Milliseconds of a duration such as 500ms, 5s, 10m, 12h or 7d. Undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim());
  return parts === null
    ? undefined
    : Math.round(Number(parts[1]) * (DURATION_UNITS[parts[2] ?? ''] ?? 0));
}

/** Bytes of a size such as 1048576, 10G, 10GiB or 10GB (all units are powers of 1024). Undefined when it is none. */
export function parseSize(text: string): number | undefined {
  const parts = /^(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?$/i.exec(text.trim());
  if (parts === null) return undefined;
  const bytes = Math.floor(Number(parts[1]) * (SIZE_UNITS[(parts[2] ?? '').toUpperCase()] ?? 1));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

function duration(lowMs: number, highMs: number): z.ZodType<number> {
  const allowed = `a duration from ${lowMs / 1000}s to ${highMs / 3_600_000}h with its unit is needed, such as 30s, 10m or 12h`;
  return z.string(allowed).transform((text, context) => {
    const value = parseDuration(text);
    if (value !== undefined && value >= lowMs && value <= highMs) return value;
    context.addIssue(allowed);
    return z.NEVER;
  });
}

function size(): z.ZodType<number> {
  const allowed = 'a size is needed, such as 500G or 2T';
  return z.union([z.string(), z.number().transform(String)], allowed).transform((text, context) => {
    const value = parseSize(text);
    if (value !== undefined) return value;
    context.addIssue(allowed);
    return z.NEVER;
  });
}
