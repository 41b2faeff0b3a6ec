/**
 * Fixed workloads on a directory and, in turn, on a plain directory of the same disk, so that every
 * figure is also a ratio of one run: `pnpm bench [--dir D] [--plain P] [--quick] [--only a,b]`.
 * JSON on standard output, progress on standard error.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startLocalCluster } from '../demo/local-cluster.ts';
import type { Figure } from './statistics.ts';
import { SCALES, WORKLOADS } from './workloads.ts';

interface Row {
  readonly figure: string;
  readonly unit: string;
  readonly holdfast: number;
  readonly plain: number;
  /** How many times as good as the plain directory: above 1 is better, whatever the unit. */
  readonly ratio: number;
}

const { values: options } = parseArgs({
  options: {
    dir: { type: 'string' },
    plain: { type: 'string', default: '/var/tmp' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (options.help) {
  console.log('pnpm bench [--dir DIRECTORY] [--plain DIRECTORY] [--quick] [--only NAME,...]');
  console.log(
    `Without --dir a three-peer cluster is started for the run. Names: ${Object.keys(WORKLOADS).join(', ')}`,
  );
} else {
  await main();
}

async function main(): Promise<void> {
  const wanted = options.only?.split(',') ?? Object.keys(WORKLOADS);
  const unknown = wanted.find((name) => !(name in WORKLOADS));
  if (unknown !== undefined) {
    console.error(`unknown workload '${unknown}'; there are: ${Object.keys(WORKLOADS).join(', ')}`);
    process.exitCode = 2;
    return;
  }
  const cluster =
    options.dir === undefined
      ? await startLocalCluster({ peers: 3, discovery: true, report: console.error })
      : undefined;
  try {
    const target = resolve(options.dir ?? (await cluster?.volume('bench')) ?? '');
    const rows = await compare(wanted, target, resolve(options.plain));
    console.log(
      JSON.stringify(
        { machine: machine(), scale: options.quick ? 'quick' : 'full', rows },
        null,
        2,
      ),
    );
  } finally {
    await cluster?.close();
  }
}

async function compare(
  wanted: readonly string[],
  target: string,
  plainRoot: string,
): Promise<Row[]> {
  const held = mkdtempSync(join(target, 'bench-'));
  const plain = mkdtempSync(join(plainRoot, 'holdfast-bench-plain-'));
  const scale = SCALES[options.quick ? 'quick' : 'full'];
  const rows: Row[] = [];
  try {
    for (const directory of [held, plain]) mkdirSync(directory, { recursive: true });
    for (const [name, workload] of Object.entries(WORKLOADS)) {
      const needed =
        wanted.includes(name) ||
        (name === 'sequential' && wanted.some((w) => w.startsWith('random')));
      if (!needed) continue;
      console.error(`bench: ${name}`);
      const reference = await workload(plain, scale);
      const measured = await workload(held, scale);
      rows.push(...joined(measured, reference));
    }
  } finally {
    rmSync(held, { recursive: true, force: true });
    rmSync(plain, { recursive: true, force: true });
  }
  return rows;
}

function joined(measured: Record<string, Figure>, reference: Record<string, Figure>): Row[] {
  return Object.entries(measured).map(([figure, held]) => {
    const plain = reference[figure]?.value ?? Number.NaN;
    const ratio = held.better === 'more' ? held.value / plain : plain / held.value;
    const row = {
      figure,
      unit: held.unit,
      holdfast: round(held.value),
      plain: round(plain),
      ratio: round(ratio),
    };
    console.error(
      `  ${figure}: ${row.holdfast} ${row.unit} (plain ${row.plain}, ratio ${row.ratio})`,
    );
    return row;
  });
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}

function machine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
}
