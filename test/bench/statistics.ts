/** What a workload measured, in its own unit. */
export interface Figure {
  readonly value: number;
  readonly unit: 'MiB/s' | 'ops/s' | 'ms';
  /** Whether a larger value is better. */
  readonly better: 'more' | 'less';
}

/** The value below which `fraction` of the samples lie (nearest rank); NaN without samples. */
export function percentile(samples: readonly number[], fraction: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)] ?? Number.NaN;
}

export function bytesPerSecond(bytes: number, ms: number): Figure {
  return { value: bytes / 2 ** 20 / (ms / 1000), unit: 'MiB/s', better: 'more' };
}

export function operationsPerSecond(count: number, ms: number): Figure {
  return { value: count / (ms / 1000), unit: 'ops/s', better: 'more' };
}

export function latency(ms: number): Figure {
  return { value: ms, unit: 'ms', better: 'less' };
}

/** Runs something and tells how long it took, milliseconds. */
export async function timed(run: () => void | Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}
