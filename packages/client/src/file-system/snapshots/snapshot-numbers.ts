import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import {
  HoldfastError,
  SNAPSHOT_NUMBERS,
  SNAPSHOT_NUMBERS_FROM,
  type VolumeNumber,
} from '@holdfast/protocol';

/** A snapshot for ever: generations are never used again, unlike the names of snapshots. */
export interface SnapshotKey {
  readonly volume: VolumeNumber;
  readonly generation: number;
}

/** Snapshots that one mount may show in its life: bounds memory, and keeps the search for a number short. */
const SNAPSHOTS_MAX = 2 ** 20;

/**
 * The numbers under which a mount shows snapshots, in place of a volume's number: with them the
 * kernel's node ids, and st_ino, tell a file of a snapshot from the same inode now. A number is kept
 * for the life of the mount, that is longer than the snapshot's, for the kernel may still hold nodes
 * of it; it is never given to another snapshot.
 *
 * Each is one line of a file, `number volume generation`, written before anyone learns the number,
 * so that it outlives a killed daemon (the file need not outlive the host). The number is a hash
 * of the snapshot, or the next one that is free: in another mount it is nearly always the same.
 */
export class SnapshotNumbers {
  readonly #keys = new Map<number, SnapshotKey>();
  readonly #numbers = new Map<string, VolumeNumber>();
  #descriptor: number | undefined;
  #end = 0;
  #isClosed = false;

  /**
   * Takes over what an earlier process wrote at `path`; without a path the numbers end with this
   * one. Throws CORRUPT for a file that is none of ours.
   */
  constructor(path?: string) {
    if (path === undefined) return;
    closeSync(openSync(path, 'a', 0o600));
    const text = readFileSync(path, 'latin1');
    // A line without its end was being written when the process was killed: nobody learned of it.
    this.#end = text.lastIndexOf('\n') + 1;
    for (const line of text.slice(0, this.#end).split('\n').slice(0, -1)) this.#load(line, path);
    this.#descriptor = openSync(path, 'r+');
  }

  /** Whether a node's volume is the number of a snapshot. */
  static isSnapshot(volume: VolumeNumber): boolean {
    return volume >= SNAPSHOT_NUMBERS_FROM;
  }

  /** The snapshot that a number stands for. ESTALE for a number that was never given. */
  keyOf(number: VolumeNumber): SnapshotKey {
    const key = this.#keys.get(number);
    if (key === undefined) throw new HoldfastError('ESTALE', 'no snapshot has this number');
    return key;
  }

  /** The number of a snapshot; given now when it has none. ENOSPC when the mount has given too many. */
  numberOf(key: SnapshotKey): VolumeNumber {
    const known = this.#numbers.get(textOf(key));
    if (known !== undefined) return known;
    if (this.#isClosed) throw new HoldfastError('SHUTTING_DOWN');
    if (this.#keys.size >= SNAPSHOTS_MAX) {
      const message = `this mount has shown ${SNAPSHOTS_MAX} snapshots; unmount and mount again`;
      throw new HoldfastError('ENOSPC', message);
    }
    let place = placeOf(key);
    while (this.#keys.has(SNAPSHOT_NUMBERS_FROM + place)) place = (place + 1) % SNAPSHOT_NUMBERS;
    const number = (SNAPSHOT_NUMBERS_FROM + place) as VolumeNumber;
    this.#write(`${number} ${textOf(key)}\n`);
    this.#put(number, key);
    return number;
  }

  /** Ends the process's part: no more numbers are given. */
  close(): void {
    this.#isClosed = true;
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #write(line: string): void {
    if (this.#descriptor === undefined) return;
    const bytes = Buffer.from(line, 'latin1');
    // What a failed write left is written over by the next.
    const written = writeSync(this.#descriptor, bytes, 0, bytes.length, this.#end);
    if (written < bytes.length) throw new HoldfastError('DISK_FAILED', 'a number was cut off');
    this.#end += written;
  }

  #load(line: string, path: string): void {
    const match = /^(\d{7}) (\d{1,7}) (\d{1,16})$/.exec(line);
    if (match === null) {
      const message = `${path} is no table of snapshots; unmount and mount again`;
      throw new HoldfastError('CORRUPT', message);
    }
    const [number, volume, generation] = match.slice(1).map(Number) as [number, number, number];
    this.#put(number as VolumeNumber, { volume: volume as VolumeNumber, generation });
  }

  #put(number: VolumeNumber, key: SnapshotKey): void {
    this.#keys.set(number, key);
    this.#numbers.set(textOf(key), number);
  }
}

function textOf({ volume, generation }: SnapshotKey): string {
  return `${volume} ${generation}`;
}

/** FNV-1a over the key's text, folded to the width of a number. */
function placeOf(key: SnapshotKey): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(textOf(key), 'latin1')) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return ((hash ^ (hash >>> 23)) >>> 0) % SNAPSHOT_NUMBERS;
}
