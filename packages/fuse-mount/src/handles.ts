/**
 * Open files. A handle is the id of the request that opened it: unique in the life of the
 * connection, and the same when the kernel sends that request again after a restart. The table is
 * kept in a journal, because the next daemon must go on counting what the kernel still holds open.
 */
import type { InodeNumber, NodeReference, VolumeNumber } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import { LineJournal } from './line-journal.ts';

/** What an open file is, beyond its position, which the kernel keeps. */
export interface OpenFile {
  readonly node: NodeReference;
  readonly write: boolean;
  /** Its volume was rolled back since: all that is left to do with it is to close it. */
  readonly isVoid?: boolean;
}

/** The open files of one connection. */
export class OpenHandles {
  readonly #files = new Map<number, OpenFile>();
  readonly #journal: LineJournal | undefined;
  readonly #voided = new Map<VolumeNumber, number>();

  /**
   * Reads the journal at `path`, if there is one, and goes on in it; without a path the table is
   * lost with the process. Throws CORRUPT for a file that is no journal.
   */
  constructor(path?: string) {
    if (path === undefined) return;
    this.#journal = new LineJournal(path);
    for (const line of this.#journal.load()) this.#apply(line);
    this.#journal.rewrite(this.#lines());
  }

  get size(): number {
    return this.#files.size;
  }

  /** The open file behind a handle; undefined when it was never opened or has been released. */
  get(handle: number): OpenFile | undefined {
    return this.#files.get(handle);
  }

  /** Handles and files, oldest first. */
  entries(): IterableIterator<[number, OpenFile]> {
    return this.#files.entries();
  }

  /** How often the files of a volume were made void: to be taken before one is opened. */
  voided(volume: VolumeNumber): number {
    return this.#voided.get(volume) ?? 0;
  }

  /**
   * Remembers an open; on return a killed daemon's successor will know it. It is void when the volume's
   * files became so since `voided` was taken.
   */
  opened(handle: number, file: OpenFile, voided = this.voided(file.node.volume)): void {
    const isVoid = voided !== this.voided(file.node.volume);
    this.#keep(handle, isVoid ? { ...file, isVoid } : file);
  }

  /** All that is open in a volume becomes void; on return a killed daemon's successor will know it. */
  voidAll(volume: VolumeNumber): void {
    this.#voided.set(volume, this.voided(volume) + 1);
    for (const [handle, file] of this.#files) {
      if (file.node.volume === volume) this.#keep(handle, { ...file, isVoid: true });
    }
  }

  #keep(handle: number, file: OpenFile): void {
    this.#files.set(handle, file);
    this.#journal?.append(openLine(handle, file));
  }

  /** Forgets an open. */
  closed(handle: number): void {
    if (!this.#files.delete(handle)) return;
    this.#journal?.retract(`-${handle}`, () => this.#lines());
  }

  /** Closes the journal; the table on disk stays. */
  close(): void {
    this.#journal?.close();
  }

  #lines(): string[] {
    return [...this.#files].map(([handle, file]) => openLine(handle, file));
  }

  #apply(line: string): void {
    const match = /^(?:\+(\d+) (\d+) (\d+) ([rw])(!?)|-(\d+))$/.exec(line);
    if (match === null) {
      const message = `'${line.slice(0, 40)}' is no line of a journal of open files; unmount and mount again`;
      throw new HoldfastError('CORRUPT', message);
    }
    const [, opened, volume, ino, mode, mark, closed] = match;
    if (closed !== undefined) {
      this.#files.delete(Number(closed));
      return;
    }
    const node = { volume: Number(volume) as VolumeNumber, ino: Number(ino) as InodeNumber };
    const file = { node, write: mode === 'w' };
    this.#files.set(Number(opened), mark === '!' ? { ...file, isVoid: true } : file);
  }
}

function openLine(handle: number, { node, write, isVoid }: OpenFile): string {
  const mark = isVoid === true ? '!' : '';
  return `+${handle} ${node.volume} ${node.ino} ${write ? 'w' : 'r'}${mark}`;
}
