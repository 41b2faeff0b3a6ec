/** The peer as a process of its own: `main.ts [--key value …]`; the keys are those of config.ts. */
import { HoldfastError } from '@holdfast/protocol';
import { loadConfig } from './config.ts';
import { startNode } from './daemon.ts';

/** Milliseconds for a stop in order; then the process ends anyway. */
const STOP_MS_MAX = 20_000;

function flagsOf(args: readonly string[]): Record<string, string> {
  const flags: Record<string, string> = {};
  for (let at = 0; at < args.length; at += 2) {
    const [flag = '', value] = [args[at], args[at + 1]];
    if (!flag.startsWith('--') || value === undefined) {
      throw new HoldfastError('BAD_CONFIG', `'${flag}' is no flag with a value; write --key value`);
    }
    flags[flag.slice(2)] = value;
  }
  return flags;
}

async function main(): Promise<number> {
  const { config: file, ...flags } = flagsOf(process.argv.slice(2));
  const environment = process.env;
  const node = await startNode(
    loadConfig({ flags, environment, ...(file === undefined ? {} : { file }) }),
  );
  const asked = new Promise<undefined>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => resolve(undefined));
  });
  const failure = await Promise.race([asked, node.failed]);
  setTimeout(() => process.exit(1), STOP_MS_MAX).unref();
  await node.close();
  return failure === undefined ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const message =
      error instanceof HoldfastError ? error.message : String((error as Error).stack ?? error);
    process.stderr.write(`holdfastd: ${message}\n`);
    process.exit(1);
  },
);
