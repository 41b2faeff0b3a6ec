/** Commands that a test stops in the middle of their work, until it lets them go on. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Fault, ObjectServer, SeenRequest } from '../object-stores/server.ts';
import { type Ended, LAUNCHER } from './command-line.ts';

/** Milliseconds for a command to get to its middle. */
const MIDDLE_MS_MAX = 120_000;

/** Requests of an object store that wait, each until the test lets it go. */
export class HeldRequests {
  readonly #waits: ((request: SeenRequest) => Fault | undefined)[] = [];

  constructor(store: ObjectServer) {
    store.behaviour.fault = (request) => {
      for (const wait of this.#waits) {
        const fault = wait(request);
        if (fault !== undefined) return fault;
      }
      return undefined;
    };
  }

  /** Holds the first request that is one of these, and all of them after it. */
  hold(isOne: (request: SeenRequest) => boolean): Hold {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const wait = (request: SeenRequest): Fault | undefined => {
      if (!isOne(request)) return undefined;
      reached.resolve();
      return { what: 'held', until: released.promise };
    };
    this.#waits.push(wait);
    const goOn = (): void => {
      this.#waits.splice(this.#waits.indexOf(wait), 1);
      released.resolve();
    };
    return { reached: reached.promise, goOn };
  }
}

/** A place in the middle of some work. */
export interface Hold {
  /** Resolves when the work has come there; it waits. */
  readonly reached: Promise<void>;
  readonly goOn: () => void;
}

/** A command that runs. */
export class RunningCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  readonly #name: string;

  constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#name = args.slice(2).join(' ');
    this.child = spawn(LAUNCHER, [...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      this.child[stream]?.setEncoding('latin1').on('data', (part: string) => {
        text[stream] += part;
      });
    }
    this.child.stdin?.on('error', () => {}); // one that has ended takes no more
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (status) => resolve({ status, ...text }));
    });
  }

  /** It writes one part of its output, and as much more as the pipe takes. */
  holdOutput(): Hold {
    const { stdout } = this.child;
    const reached = Promise.withResolvers<void>();
    stdout?.once('data', () => {
      stdout.pause();
      reached.resolve();
    });
    return { reached: reached.promise, goOn: () => stdout?.resume() };
  }

  /** It is stopped, by a signal that no program can catch, as soon as something holds. */
  stopWhen(holds: () => boolean): Hold {
    const look = async (): Promise<void> => {
      while (!holds()) {
        if (this.child.exitCode !== null) return; // `until` says so
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      this.child.kill('SIGSTOP');
    };
    return { reached: look(), goOn: () => this.child.kill('SIGCONT') };
  }

  /** Resolves when it has come to its middle; rejects when it ends before, or never comes there. */
  async until(middle: Promise<void>): Promise<void> {
    let late: NodeJS.Timeout | undefined;
    const isLate = new Promise<never>((_, reject) => {
      const why = (): void => reject(new Error(`${this.#name}: never came to its middle`));
      late = setTimeout(why, MIDDLE_MS_MAX);
    });
    const isOver = this.ended.then(({ status, stderr }) => {
      throw new Error(`${this.#name}: ended before its middle with ${status}: ${stderr}`);
    });
    try {
      await Promise.race([middle, isOver, isLate]);
    } finally {
      clearTimeout(late);
      isOver.catch(() => {});
      isLate.catch(() => {});
    }
  }
}
