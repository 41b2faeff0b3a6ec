import { type ChildProcess, spawn } from 'node:child_process';

/** Milliseconds before a part that ended is started again: at first, and at most. */
const RESTART_MS_MIN = 200;
const RESTART_MS_MAX = 10_000;
/** Milliseconds of running after which the next restart is quick again. */
const STABLE_MS = 30_000;
/** Milliseconds that a part gets to end by itself before it is killed. */
const STOP_MS_MAX = 20_000;

/** One supervised process. */
export interface Part {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

type Report = (event: string, fields: Record<string, unknown>) => void;

/** Runs parts as processes of their own, starts again what ends, and stops all in reverse order. */
export class Supervisor {
  readonly #report: Report;
  readonly #running: { part: Part; child: ChildProcess | undefined; ended: Promise<void> }[] = [];
  readonly #stop = new AbortController();

  constructor(report: Report) {
    this.#report = report;
  }

  /** Starts a part and keeps it running. */
  start(part: Part): void {
    const entry = { part, child: undefined as ChildProcess | undefined, ended: Promise.resolve() };
    this.#running.push(entry);
    entry.ended = this.#keep(entry);
  }

  async #keep(entry: { part: Part; child: ChildProcess | undefined }): Promise<void> {
    let pauseMs = RESTART_MS_MIN;
    while (!this.#stop.signal.aborted) {
      const started = performance.now();
      const how = await this.#runOnce(entry);
      if (this.#stop.signal.aborted) return;
      if (performance.now() - started > STABLE_MS) pauseMs = RESTART_MS_MIN;
      this.#report('part.ended', { part: entry.part.name, how, restartMs: pauseMs });
      await this.#pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, RESTART_MS_MAX);
    }
  }

  #runOnce(entry: { part: Part; child: ChildProcess | undefined }): Promise<string> {
    const { part } = entry;
    return new Promise((resolve) => {
      const child = spawn(part.command, part.args, { stdio: ['ignore', 'inherit', 'inherit'] });
      entry.child = child;
      this.#report('part.started', { part: part.name, pid: child.pid });
      child.on('error', (error) => resolve(error.message));
      child.on('exit', (status, signal) => {
        entry.child = undefined;
        resolve(signal ?? `status ${status}`);
      });
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const signal = this.#stop.signal;
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      }
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** Stops the parts, last started first, each before the next; kills what does not end in time. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const entry of [...this.#running].reverse()) {
      const { child } = entry;
      child?.kill('SIGTERM');
      const timer = setTimeout(() => child?.kill('SIGKILL'), STOP_MS_MAX);
      await entry.ended;
      clearTimeout(timer);
    }
  }
}
