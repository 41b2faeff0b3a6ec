import { readFileSync } from 'node:fs';

const SIGKILL_BIT = 1n << 8n;

/**
 * Whether a thread is being killed. The kernel turns every signal that ends a process into a
 * pending SIGKILL of each of its threads (proc_pid_status(5), `SigPnd`). False when the thread is
 * not visible from here, because its id is 0 or of another pid namespace.
 */
export function hasFatalSignal(pid: number): boolean {
  if (pid === 0) return false;
  let status: string;
  try {
    // procfs, never the own mount; a few microseconds, and only on an interrupt.
    status = readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    return false;
  }
  const pending = /^SigPnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return pending !== undefined && (BigInt(`0x${pending}`) & SIGKILL_BIT) !== 0n;
}
