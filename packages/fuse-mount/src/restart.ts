/**
 * What a mount daemon leaves to its successor on the same connection: INIT is sent only once, and
 * requests that were read and not answered must be answered by someone.
 */
import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import type { Agreement } from './kernel/negotiate.ts';

/** The outcome of INIT. */
export interface SavedInit {
  readonly requestId: number;
  readonly agreement: Agreement;
}

const VERSION = 1;

/** Files of a state directory. */
export const STATE_FILE = {
  init: 'init.json',
  handles: 'handles',
  locks: 'locks',
  watermark: 'watermark',
  /** Directory of the client's session. */
  session: 'session',
} as const;

/** Writes down what was agreed; on return a killed daemon's successor will find it. */
export function saveInit(directory: string, saved: SavedInit): void {
  const { agreement, requestId } = saved;
  const text = JSON.stringify({
    version: VERSION,
    requestId,
    minor: agreement.minor,
    flags: agreement.flags.toString(16),
    maxReadaheadBytes: agreement.maxReadaheadBytes,
  });
  const path = join(directory, STATE_FILE.init);
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** What was agreed by an earlier daemon; undefined on a new connection. Throws CORRUPT or NEWER_FORMAT. */
export function loadInit(directory: string): SavedInit | undefined {
  const path = join(directory, STATE_FILE.init);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return parseInit(text, path);
}

function parseInit(text: string, path: string): SavedInit {
  const fields = readFields(text);
  if (typeof fields['version'] === 'number' && fields['version'] > VERSION) {
    throw new HoldfastError(
      'NEWER_FORMAT',
      `${path} was written by a newer version; unmount first`,
    );
  }
  const { requestId, minor, flags, maxReadaheadBytes } = fields;
  const isWhole =
    typeof requestId === 'number' &&
    typeof minor === 'number' &&
    typeof maxReadaheadBytes === 'number' &&
    typeof flags === 'string' &&
    /^[0-9a-f]{1,16}$/.test(flags);
  if (!isWhole) throw new HoldfastError('CORRUPT', `${path} is damaged; unmount and mount again`);
  return { requestId, agreement: { minor, maxReadaheadBytes, flags: BigInt(`0x${flags}`) } };
}

function readFields(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Removes what belongs to an earlier connection, whose request ids mean nothing here. */
export function clearState(directory: string): void {
  for (const name of Object.values(STATE_FILE)) {
    rmSync(join(directory, name), { force: true, recursive: true });
  }
}

/**
 * For kernels without RESEND: the lowest id that may still be unanswered, so that a successor knows
 * where to look. Written seldom; too low a number costs time, never correctness.
 */
export class Watermark {
  readonly #descriptor: number;
  readonly #step: number;
  /** Ids below were answered when the earlier daemon last wrote; 0 when there was none. */
  readonly found: number;
  #written: number;

  /** Opens or makes the file; `step` is the growth after which it is written. */
  constructor(directory: string, step: number) {
    const path = join(directory, STATE_FILE.watermark);
    closeSync(openSync(path, 'a', 0o600));
    this.#descriptor = openSync(path, 'r+');
    const bytes = Buffer.alloc(8);
    readSync(this.#descriptor, bytes, 0, 8, 0);
    this.found = Number(bytes.readBigUInt64LE());
    this.#written = this.found;
    this.#step = step;
  }

  /** All ids below `requestId` have been answered. */
  advance(requestId: number): void {
    if (requestId < this.#written + this.#step) return;
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(requestId));
    writeSync(this.#descriptor, bytes, 0, 8, 0);
    this.#written = requestId;
  }

  /** Closes the file. */
  close(): void {
    closeSync(this.#descriptor);
  }
}
