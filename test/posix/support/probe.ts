import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Calls } from './probe/main.ts';

const PROGRAM = fileURLToPath(new URL('./probe/main.ts', import.meta.url));

/** A process that makes system calls on demand, so that they may block without blocking the test. */
export class Probe {
  readonly child: ChildProcess;
  readonly #waiting = new Map<number, (result: { value?: unknown; errno?: string }) => void>();
  #last = 0;

  /** `as`: the user and group that it becomes once its program, which they need not be able to read, is loaded. */
  constructor(as?: { readonly uid: number; readonly gid: number }) {
    const args = as === undefined ? [] : [String(as.uid), String(as.gid)];
    this.child = fork(PROGRAM, args, { serialization: 'advanced' });
    this.child.on('message', (message) => {
      const { id, ...result } = message as { id: number };
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
    this.child.once('exit', () => {
      for (const finish of this.#waiting.values()) finish({ errno: 'exited' });
    });
  }

  /** Makes a call; rejects with an error whose `code` is the errno's name. */
  async call<Name extends keyof Calls>(
    name: Name,
    ...args: Parameters<Calls[Name]>
  ): Promise<ReturnType<Calls[Name]>> {
    if (this.child.exitCode !== null || this.child.signalCode !== null)
      throw Object.assign(new Error(`${name}: the probe has ended`), { code: 'exited' });
    this.#last += 1;
    const id = this.#last;
    const result = new Promise<{ value?: unknown; errno?: string }>((resolve) => {
      this.#waiting.set(id, resolve);
    });
    this.child.send({ id, name, args });
    const { value, errno } = await result;
    if (errno !== undefined) throw Object.assign(new Error(`${name}: ${errno}`), { code: errno });
    return value as ReturnType<Calls[Name]>;
  }

  /** Ends the process. */
  async close(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}
