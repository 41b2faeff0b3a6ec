/** The mount's certificate, renewed by a program of its own: issuing needs more than a mount should hold. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { HoldfastError } from '@holdfast/protocol';

/** Milliseconds that the program may take. */
const RENEW_MS_MAX = 120_000;
const run = promisify(execFile);

/**
 * Runs `program --data DIRECTORY certificate renew`. Resolves when it succeeded; UNREACHABLE with
 * what it said when it did not.
 */
export async function renewBy(program: string, dataDirectory: string): Promise<void> {
  const args = ['--data', dataDirectory, 'certificate', 'renew'];
  try {
    await run(program, args, { timeout: RENEW_MS_MAX, killSignal: 'SIGKILL' });
  } catch (cause) {
    const { stderr = '' } = cause as { stderr?: string };
    const message = `${program} ${args.join(' ')} failed: ${stderr.trim() || String(cause)}`;
    throw new HoldfastError('UNREACHABLE', message, { cause });
  }
}
