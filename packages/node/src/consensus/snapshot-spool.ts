/**
 * A snapshot on its way in: all of it is on disk before the group hears of it. One file a group,
 * `<group>.snapshot`: u32 length (little-endian) and MessagePack of its meta, then the stream.
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { decode, encode } from '@holdfast/protocol';
import type { SnapshotMeta } from '@holdfast/raft';
import { syncDirectory } from '../membership/durable-files.ts';

/** A whole snapshot, ready to be installed. */
export interface SpooledSnapshot {
  readonly meta: SnapshotMeta;
  /** The stream as it was sent. */
  read(): AsyncIterable<Uint8Array>;
}

/** Bytes of a meta that can be real. */
const META_BYTES_MAX = 65_536;

/** Incoming snapshots of all groups, in one directory. */
export class SnapshotSpool {
  readonly #directory: string;

  /** `directory` is made when first needed. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  #path(group: number): string {
    return join(this.#directory, `${group}.snapshot`);
  }

  /** Takes in a whole stream, durably; the one before it is replaced. */
  async store(
    group: number,
    meta: SnapshotMeta,
    stream: AsyncIterable<Uint8Array>,
  ): Promise<SpooledSnapshot> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const part = `${this.#path(group)}.part`;
    const handle = await open(part, 'w', 0o600);
    try {
      const head = encode(meta);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(head.length);
      await handle.writeFile(Buffer.concat([length, head]));
      for await (const piece of stream) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(part, this.#path(group));
    // A crash after the state was replaced must find it: see ConsensusDriver.openShard.
    await syncDirectory(this.#directory);
    return this.#snapshot(group, meta, 4 + encode(meta).length);
  }

  #snapshot(group: number, meta: SnapshotMeta, start: number): SpooledSnapshot {
    const path = this.#path(group);
    return { meta, read: () => createReadStream(path, { start, highWaterMark: 256 * 1024 }) };
  }

  /** The meta of a snapshot that a crash may have left half installed. */
  async find(group: number): Promise<SnapshotMeta | undefined> {
    const handle = await open(this.#path(group), 'r').catch(() => undefined);
    if (handle === undefined) return undefined;
    try {
      const length = Buffer.alloc(4);
      await handle.read(length, 0, 4, 0);
      const head = Buffer.alloc(Math.min(length.readUInt32LE(0), META_BYTES_MAX));
      await handle.read(head, 0, head.length, 4);
      return decode<SnapshotMeta>(head);
    } finally {
      await handle.close();
    }
  }

  async remove(group: number): Promise<void> {
    await unlink(this.#path(group)).catch(() => {});
  }
}
