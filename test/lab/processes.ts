import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { LabError } from './errors.ts';

/**
 * A process that the lab started. Process ids are used again by the kernel, so the lab never signals
 * an id alone: the start time (clock ticks since boot, proc(5) stat field 22) must match too.
 */
export interface RecordedProcess {
  readonly pid: number;
  readonly startTime: string;
}

/** Fields of /proc/PID/stat from the state (field 3) on; undefined when there is no such process. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command's name (field 2) may hold blanks and parentheses: cut after the last one.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** The record of a process that runs now. Throws LabError when it has ended already. */
export function recordOf(pid: number): RecordedProcess {
  const startTime = statFields(pid)?.[19];
  if (startTime === undefined) throw new LabError(`process ${pid} ended before it was recorded`);
  return { pid, startTime };
}

/** True while exactly that process runs; a zombie has ended. */
export function isAlive(recorded: RecordedProcess): boolean {
  const fields = statFields(recorded.pid);
  return fields !== undefined && fields[19] === recorded.startTime && fields[0] !== 'Z';
}

/** Writes a record where {@link readRecord} finds it. */
export function writeRecord(path: string, recorded: RecordedProcess): void {
  writeFileSync(path, JSON.stringify(recorded));
}

/** The record in a file; undefined when there is none or it is not whole. */
export function readRecord(path: string): RecordedProcess | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as RecordedProcess;
  } catch {
    return undefined;
  }
}

/** Signals the recorded process if it still runs, waits until it has ended, removes the record. */
export async function endRecorded(path: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  const recorded = readRecord(path);
  if (recorded !== undefined && isAlive(recorded)) {
    process.kill(recorded.pid, signal);
    await waitFor(`process ${recorded.pid} to end`, () => !isAlive(recorded), 30_000);
  }
  rmSync(path, { force: true });
}

/** Polls until `probe` says true. Throws LabError after `timeoutMs`, naming what was waited for. */
export async function waitFor(
  what: string,
  probe: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await probe())) {
    if (performance.now() > deadline)
      throw new LabError(`waited ${timeoutMs} ms in vain for ${what}`);
    await delay(20);
  }
}

/** How {@link run} runs a command. */
export interface RunOptions {
  /** Milliseconds after which the command and its children are killed; default 60,000. */
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Bytes for its standard input. */
  readonly input?: string | Buffer;
  /** False: a non-zero exit is an answer, not an error. Default true. */
  readonly check?: boolean;
}

/** What a command answered. `status` is null when a signal ended it. */
export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
}

/** Bytes of output kept of one command; more is an error, a test should not produce it. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Runs a command (no shell) in a process group of its own and waits for it. Throws LabError when it
 * cannot be started, exceeds its time, or (unless `check` is false) exits with another status than 0.
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { timeoutMs = 60_000, check = true } = options;
  const child = launch(argv, ['pipe', 'pipe', 'pipe'], options);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child, 'SIGKILL');
  }, timeoutMs);
  child.stdin?.on('error', () => {}); // a command that ends without reading its input is no error
  child.stdin?.end(options.input ?? '');
  const [stdout, stderr] = [collect(child, child.stdout), collect(child, child.stderr)];
  const status = await exitOf(child, argv).finally(() => clearTimeout(timer));
  const result = { stdout: stdout(), stderr: stderr(), status };
  if (timedOut) throw new LabError(`no end within ${timeoutMs} ms: ${describe(argv, result)}`);
  if (check && status !== 0) throw new LabError(`status ${status}: ${describe(argv, result)}`);
  return result;
}

/** Starts a command in a process group of its own, so that it and its children can be ended as one. */
export function launch(
  argv: readonly string[],
  stdio: StdioOptions,
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
): ChildProcess {
  const [file = '', ...args] = argv;
  return spawn(file, args, {
    stdio,
    detached: true,
    env: options.env ?? process.env,
    cwd: options.cwd,
  });
}

/** Signals a launched command and its children; nothing when it has ended. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It ended between the check and the signal.
  }
}

/** The exit status of a launched command; null after a signal. Throws LabError if it never started. */
function exitOf(child: ChildProcess, argv: readonly string[]): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => reject(new LabError(`cannot run ${argv[0]}`, { cause })));
    child.once('close', (status) => resolve(status));
  });
}

function collect(child: ChildProcess, stream: NodeJS.ReadableStream | null): () => string {
  const parts: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (part: Buffer) => {
    parts.push(part);
    bytes += part.length;
    if (bytes > OUTPUT_BYTES_MAX) killGroup(child, 'SIGKILL');
  });
  return () => Buffer.concat(parts).toString('utf8');
}

function describe(argv: readonly string[], result: RunResult): string {
  const command = argv.join(' ').slice(-300);
  return `${command}\n${result.stderr.slice(-2000) || result.stdout.slice(-2000)}`;
}
