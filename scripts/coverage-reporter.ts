import type { Reporter } from 'vitest/node';

/** What is used of istanbul's coverage map. */
interface CoverageMap {
  files(): string[];
  fileCoverageFor(path: string): {
    toSummary(): { lines: Count; branches: Count };
  };
}

interface Count {
  readonly total: number;
  readonly covered: number;
}

interface Share {
  total: number;
  covered: number;
}

/** Prints, after a run with coverage, the lines and branches covered in each package. */
export class CoverageReporter implements Reporter {
  onCoverage(coverage: unknown): void {
    const map = coverage as CoverageMap;
    const packages = new Map<string, { lines: Share; branches: Share }>();
    for (const path of map.files()) {
      const name = /\/packages\/([^/]+)\//.exec(path)?.[1] ?? 'other';
      const sums = packages.get(name) ?? { lines: nothing(), branches: nothing() };
      const { lines, branches } = map.fileCoverageFor(path).toSummary();
      add(sums.lines, lines);
      add(sums.branches, branches);
      packages.set(name, sums);
    }
    const byName = [...packages].sort(([left], [right]) => left.localeCompare(right));
    console.log('\nCoverage by unit tests     lines   branches');
    for (const [name, { lines, branches }] of byName)
      console.log(`  ${name.padEnd(20)} ${percent(lines)} ${percent(branches).padStart(10)}`);
  }
}

function nothing(): Share {
  return { total: 0, covered: 0 };
}

function add(sum: Share, part: Count): void {
  sum.total += part.total;
  sum.covered += part.covered;
}

function percent({ total, covered }: Share): string {
  return (total === 0 ? '-' : `${((100 * covered) / total).toFixed(1)} %`).padStart(9);
}
