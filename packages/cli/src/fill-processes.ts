/** Processes that fill volumes from backups, one a volume, on behalf of the volume driver. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { LAUNCHER } from './context.ts';

/** Milliseconds after a process has ended before another is started for the same volume. */
const AGAIN_MS = 5_000;

/** Starts them, at most one for each volume on this host. */
export class FillProcesses {
  readonly #dataDirectory: string;
  readonly #running = new Map<string, ChildProcess>();
  /** When the last one ended, on the clock of `performance`. */
  readonly #endedAtMs = new Map<string, number>();

  constructor(dataDirectory: string) {
    this.#dataDirectory = dataDirectory;
  }

  /** Starts one, unless one runs here or has just ended. */
  start(volume: string): void {
    const endedAtMs = this.#endedAtMs.get(volume) ?? Number.NEGATIVE_INFINITY;
    if (this.#running.has(volume) || performance.now() - endedAtMs < AGAIN_MS) return;
    const args = ['--data', this.#dataDirectory, 'volume', 'fill', volume];
    const child = spawn(LAUNCHER, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#running.set(volume, child);
    const ended = (): void => {
      this.#running.delete(volume);
      this.#endedAtMs.set(volume, performance.now());
    };
    child.once('error', ended);
    child.once('exit', ended);
  }

  /** Asks those that run to give their work back, and waits until they have. */
  async close(): Promise<void> {
    const all = [...this.#running.values()];
    const ends = all.map((child) => once(child, 'exit'));
    for (const child of all) child.kill('SIGTERM');
    await Promise.all(ends);
  }
}
