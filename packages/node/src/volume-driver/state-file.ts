import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import type { DriverLog } from './log.ts';

/**
 * A small JSON document that survives crashes: after {@link StateFile.write} returns, either the new
 * or (never after a power cut) the old content is there, whole. Synchronous on purpose: the threads
 * of asynchronous file calls may all be stuck in a mount that does not answer.
 */
export class StateFile {
  readonly #path: string;
  readonly #version: number;

  /** `version` is that of the format; a file with a higher one is refused. */
  constructor(path: string, version: number) {
    this.#path = path;
    this.#version = version;
    mkdirSync(dirname(path), { recursive: true });
  }

  /**
   * The content; undefined when there is none yet. NEWER_FORMAT when a newer version wrote it; a
   * damaged file is set aside, which is logged, and counts as none.
   */
  read(log: DriverLog): unknown {
    if (!existsSync(this.#path)) return undefined;
    const document = parse(readFileSync(this.#path, 'utf8'));
    if (document === undefined) {
      const aside = `${this.#path}.damaged`;
      renameSync(this.#path, aside);
      log.error({ event: 'state.damaged', path: aside });
      return undefined;
    }
    if (document.version > this.#version) {
      const found = `${this.#path} has format ${document.version}, this program knows ${this.#version}`;
      throw new HoldfastError('NEWER_FORMAT', `${found}: start the newer version again`);
    }
    return document.content;
  }

  /** Replaces the content; durable when it returns. DISK_FAILED when it cannot be written. */
  write(content: unknown): void {
    try {
      this.#replace(content);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
      throw new HoldfastError('DISK_FAILED', `cannot write ${this.#path}: ${code}`, { cause });
    }
  }

  #replace(content: unknown): void {
    const next = `${this.#path}.new`;
    const file = openSync(next, 'w', 0o600);
    try {
      writeSync(file, JSON.stringify({ version: this.#version, content }));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(next, this.#path);
    const directory = openSync(dirname(this.#path), 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  }
}

function parse(text: string): { version: number; content: unknown } | undefined {
  try {
    const document = JSON.parse(text) as { version?: unknown; content?: unknown } | null;
    if (typeof document?.version !== 'number') return undefined;
    return { version: document.version, content: document.content };
  } catch {
    return undefined;
  }
}
