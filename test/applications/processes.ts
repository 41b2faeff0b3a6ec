import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs a command to its end and answers its standard output; fails with what it said on standard error. */
export async function command(
  file: string,
  args: readonly string[],
  options: { cwd?: string } = {},
): Promise<string> {
  try {
    const { stdout } = await run(file, [...args], { ...options, maxBuffer: 64 * 2 ** 20 });
    return stdout;
  } catch (error) {
    const { stderr, stdout } = error as { stderr?: string; stdout?: string };
    throw new Error(
      `${file} ${args.join(' ')}: ${stderr ?? ''}${stdout ?? ''}${stderr === undefined ? String(error) : ''}`,
      { cause: error },
    );
  }
}

/** A program that reports each acknowledged step as a line on standard output. */
export class Acknowledger {
  readonly child: ChildProcess;
  readonly acknowledged: string[] = [];
  #wake: (() => void)[] = [];

  constructor(file: string, args: readonly string[]) {
    this.child = spawn(file, [...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    let partial = '';
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      this.acknowledged.push(...lines.filter((line) => line !== ''));
      this.#wakeAll();
    });
    this.child.once('exit', () => this.#wakeAll());
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Resolves when at least `count` lines were acknowledged; fails when the program ended before. */
  async atLeast(count: number): Promise<void> {
    while (this.acknowledged.length < count) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(
          `the program ended after ${this.acknowledged.length} of ${count} acknowledgements`,
        );
      }
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}
