import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CLOCK = fileURLToPath(new URL('./movable-clock.ts', import.meta.url));

/** The wall clock of all programs that are started meanwhile. */
export class Clock {
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-clock-'));
  readonly #path = join(this.#directory, 'ahead');
  readonly #before = process.env['NODE_OPTIONS'] ?? '';
  #aheadMs = 0;

  constructor() {
    this.#write();
    process.env['TEST_CLOCK_FILE'] = this.#path;
    process.env['NODE_OPTIONS'] = `${this.#before} --import ${CLOCK}`;
  }

  get nowMs(): number {
    return Date.now() + this.#aheadMs;
  }

  /** It goes on from this time. */
  moveTo(timeMs: number): void {
    this.#aheadMs = timeMs - Date.now();
    this.#write();
  }

  #write(): void {
    writeFileSync(`${this.#path}.new`, String(this.#aheadMs));
    renameSync(`${this.#path}.new`, this.#path);
  }

  close(): void {
    process.env['NODE_OPTIONS'] = this.#before;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
