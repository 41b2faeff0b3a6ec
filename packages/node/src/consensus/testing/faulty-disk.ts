/** A disk in memory for tests: it forgets what was not synced, fills up, and fails on demand. */
import type { LogDisk, LogFile } from '../log-disk.ts';

interface Content {
  bytes: Buffer;
  durable: Buffer;
}

const SECTOR_BYTES = 512;
let disks = 0;

/** Errors by name: a full disk is ENOSPC, a broken one EIO. */
export type DiskFault = 'none' | 'full' | 'sync-fails' | 'write-fails';

/** Files in memory; `fault` decides what goes wrong from now on. */
export class FaultyDisk implements LogDisk {
  readonly place: string;
  readonly files = new Map<string, Content>();
  fault: DiskFault = 'none';
  syncs = 0;
  /** Awaited within each sync, so that a test can hold one. */
  beforeSync: () => Promise<void> = async () => {};

  constructor() {
    disks += 1;
    this.place = `faulty-disk-${disks}`;
  }

  /** What a power cut leaves: all that was synced, and of the rest the sectors that `keep` chooses. */
  afterCrash(keep: (sector: number) => boolean = () => false): FaultyDisk {
    const next = new FaultyDisk();
    for (const [name, { bytes, durable }] of this.files) {
      const left = Buffer.from(durable);
      for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
        const isChanged = bytes.compare(left, at, at + SECTOR_BYTES, at, at + SECTOR_BYTES) !== 0;
        if (isChanged && keep(at / SECTOR_BYTES)) bytes.copy(left, at, at, at + SECTOR_BYTES);
      }
      next.files.set(name, { bytes: left, durable: Buffer.from(left) });
    }
    return next;
  }

  /** A copy with everything written made durable, to be damaged by a test. */
  copy(): FaultyDisk {
    return this.afterCrash(() => true);
  }

  async list(): Promise<string[]> {
    return [...this.files.keys()];
  }

  async freeBytes(): Promise<number> {
    return this.fault === 'full' ? 0 : Number.MAX_SAFE_INTEGER;
  }

  async create(name: string, length: number): Promise<LogFile> {
    await Promise.resolve();
    if (this.fault === 'full') throw Object.assign(new Error('disk full'), { code: 'ENOSPC' });
    const content = { bytes: Buffer.alloc(length), durable: Buffer.alloc(length) };
    this.files.set(name, content);
    return this.#file(content);
  }

  async open(name: string): Promise<LogFile> {
    return this.#file(this.files.get(name)!);
  }

  async remove(name: string): Promise<void> {
    this.files.delete(name);
  }

  #file(content: Content): LogFile {
    const readSync = (position: number, length: number) => {
      return new Uint8Array(content.bytes.subarray(position, position + length));
    };
    return {
      readSync,
      read: async (position, length) => readSync(position, length),
      size: async () => content.bytes.length,
      close: async () => {},
      write: async (parts, position) => {
        await Promise.resolve();
        if (this.fault === 'write-fails') throw Object.assign(new Error('io'), { code: 'EIO' });
        Buffer.concat(parts).copy(content.bytes, position);
      },
      sync: async () => {
        await this.beforeSync();
        if (this.fault === 'sync-fails') throw Object.assign(new Error('io'), { code: 'EIO' });
        this.syncs += 1;
        content.durable = Buffer.from(content.bytes);
      },
    };
  }
}
