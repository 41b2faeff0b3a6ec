/** Commands of the operator before and after a step, such as those that make a database hold still. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { HoldfastError } from '@holdfast/protocol';

/** Milliseconds that a command which was told to end has before it is killed. */
const END_MS = 2_000;

/** What is run by `sh -c` on this host; its output goes to standard error. */
export interface SurroundingCommands {
  readonly pre?: string;
  readonly post?: string;
  /** Milliseconds that each may take. */
  readonly waitMs: number;
  /** Variables that they get beside those of this process. */
  readonly environment: Readonly<Record<string, string>>;
  /** Ends the first command, and keeps the step from being taken. */
  readonly signal: AbortSignal;
}

/**
 * Takes the step between the two commands. It is not taken when the first fails, lasts too long or is
 * stopped; the second runs in any case, also when this process is killed, so it must do no harm where the
 * first did nothing, nor a second time. Throws what went wrong first; CONFLICT for a command.
 */
export async function surrounded<T>(
  commands: SurroundingCommands,
  step: () => Promise<T>,
): Promise<T> {
  const { pre, post, signal } = commands;
  const guard = post === undefined ? undefined : await Guard.start(post, commands);
  const before = async (): Promise<T> => {
    if (pre !== undefined) await runCommand('--pre', pre, commands);
    signal.throwIfAborted();
    return step();
  };
  const [outcome] = await Promise.allSettled([before()]);
  // Whoever stops us now waits for it: a database that was told to hold still must be let go.
  const never = { ...commands, signal: new AbortController().signal };
  const [after] = await Promise.allSettled([
    post === undefined ? undefined : runCommand('--post', post, never),
  ]);
  await guard?.dismiss();
  if (outcome.status === 'fulfilled' && after.status === 'fulfilled') return outcome.value;
  if (outcome.status === 'fulfilled')
    throw failed(`the snapshot is taken, but ${wordsOf((after as PromiseRejectedResult).reason)}`);
  if (after.status === 'fulfilled') throw outcome.reason;
  throw failed(`${wordsOf(outcome.reason)}; and then ${wordsOf(after.reason)}`);
}

/** What it says to the guard when nothing is left to do. */
const DISMISSED = 'done';
/** The second command is its argument. Of a parent that dies it reads nothing more. */
const GUARD = `read -r said; [ "$said" = ${DISMISSED} ] || exec /bin/sh -c "$1"`;

/** A process that runs the second command if this one is killed before it has. */
class Guard {
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#process = child;
  }

  /** Rejects when there can be no process. */
  static async start(
    post: string,
    { environment }: Pick<SurroundingCommands, 'environment'>,
  ): Promise<Guard> {
    const child = spawn('/bin/sh', ['-c', GUARD, 'holdfast-post', post], {
      stdio: ['pipe', 2, 2],
      env: { ...process.env, ...environment },
      detached: true, // what is said to the group of this process is not said to it
    });
    child.stdin?.on('error', () => {}); // killed: then there is no guard any more
    await once(child, 'spawn');
    return new Guard(child);
  }

  /** Resolves when it has ended without doing anything. */
  async dismiss(): Promise<void> {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.stdin?.end(`${DISMISSED}\n`);
    await ended;
  }
}

function wordsOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

function failed(message: string): HoldfastError {
  return new HoldfastError('CONFLICT', message);
}

async function runCommand(
  option: string,
  text: string,
  { waitMs, environment, signal }: SurroundingCommands,
): Promise<void> {
  signal.throwIfAborted();
  const child = spawn('/bin/sh', ['-c', text], {
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...environment },
    detached: true, // a group of its own, which can be ended whole
  });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(waitMs)]);
  const end = (): void => endGroup(child);
  limit.addEventListener('abort', end, { once: true });
  try {
    const [status, killer] = await ended;
    if (signal.aborted) throw signal.reason;
    if (limit.aborted) throw failed(`the command of ${option} took more than ${waitMs / 1_000} s`);
    if (status !== 0)
      throw failed(
        `the command of ${option} ended with ${status === null ? killer : `status ${status}`}`,
      );
  } finally {
    limit.removeEventListener('abort', end);
  }
}

function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  const tell = (signal: NodeJS.Signals): void => {
    try {
      process.kill(-pid, signal);
    } catch {
      // all of it has ended
    }
  };
  tell('SIGTERM');
  setTimeout(() => tell('SIGKILL'), END_MS);
}
