import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { vi } from 'vitest';

const PROGRAM = fileURLToPath(new URL('../workload/main.ts', import.meta.url));
/** Milliseconds in which a round is done even while a daemon starts on a busy machine. */
const ROUND_MS_MAX = 30_000;

/** The program of ../workload/main.ts, at work in a directory. */
export class Workload {
  /** Rounds that it has done. */
  rounds = 0;
  /** What it said on standard error; it must say nothing. */
  errors = '';
  readonly #child: ChildProcess;

  constructor(directory: string) {
    this.#child = spawn(process.execPath, [PROGRAM, directory], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      this.rounds = Number(bytes.toString('latin1').trim().split('\n').at(-1));
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.errors += bytes.toString('latin1');
    });
  }

  /** Resolves when some more rounds have been done; rejects when the program ended instead. */
  async more(rounds: number): Promise<void> {
    const goal = this.rounds + rounds;
    const isDone = () => this.rounds >= goal || this.#child.exitCode !== null;
    await vi.waitUntil(isDone, { timeout: ROUND_MS_MAX });
    if (this.rounds < goal) throw new Error(`the workload ended: ${this.errors}`);
  }

  /** Lets it check its log and end; resolves with its exit status, 0 when nothing was wrong. */
  async stop(): Promise<number | null> {
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    return (await exit)[0] as number | null;
  }
}
