/**
 * Stands in front of runc where root itself lacks a capability (some virtual machines take
 * CAP_SYS_RESOURCE away): runc would fail with "unable to apply caps" for a privileged container.
 * Removes from the container's specification what this process could not give anyway, then lets
 * runc do its work. usage: node runc/main.ts RUNC-ARGUMENTS
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { missingCapabilities } from '../capabilities.ts';

/** The real one, in the engine's path. */
const RUNC = 'runc';

interface ProcessSpec {
  capabilities?: Record<string, string[] | null>;
}

function trim(path: string, processOf: (document: unknown) => ProcessSpec): void {
  const document: unknown = JSON.parse(readFileSync(path, 'utf8'));
  const { capabilities = {} } = processOf(document);
  const missing = new Set(missingCapabilities());
  for (const [set, names] of Object.entries(capabilities)) {
    capabilities[set] = (names ?? []).filter((name) => !missing.has(name));
  }
  writeFileSync(path, JSON.stringify(document));
}

function valueAfter(flags: readonly string[]): string | undefined {
  const at = process.argv.findIndex((argument) => flags.includes(argument));
  return at === -1 ? undefined : process.argv[at + 1];
}

const runcArguments = process.argv.slice(2);
if (runcArguments.includes('create') || runcArguments.includes('run')) {
  const bundle = valueAfter(['--bundle', '-b']) ?? '.';
  trim(join(bundle, 'config.json'), (spec) => (spec as { process: ProcessSpec }).process);
} else if (runcArguments.includes('exec')) {
  const path = valueAfter(['--process', '-p']);
  if (path !== undefined) trim(path, (spec) => spec as ProcessSpec);
}
const { status } = spawnSync(RUNC, runcArguments, { stdio: 'inherit' });
process.exit(status ?? 1);
