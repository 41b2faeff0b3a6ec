/**
 * Directory entries packed into one READDIR or READDIRPLUS reply (`fuse_dirent`,
 * `fuse_direntplus`). An entry's offset is what the kernel hands back to go on after it:
 *
 * | offset | goes on after         |
 * |--------|-----------------------|
 * | 0      | nothing: the start    |
 * | 1      | `.`                   |
 * | 2      | `..`                  |
 * | n + 2  | the entry of cookie n |
 */
import type { FileKind, ListedEntry, NodeReference } from '@holdfast/protocol';
import { DIRENT_HEADER_BYTES, ENTRY_BYTES, REPLY_HEADER_BYTES } from './abi.ts';
import { emptyReply, typeBits, writeEntry } from './encode.ts';
import { nodeIdHigh, nodeIdLow } from './node-id.ts';

/** Offset carried by `.`. */
export const OFFSET_SELF = 1n;
/** Offset carried by `..`, to which cookies are added. */
export const OFFSET_PARENT = 2n;

/** One name to be packed. */
interface Dirent {
  readonly name: string;
  readonly node: NodeReference;
  readonly kind: FileKind;
  readonly offset: bigint;
}

/** The cookie to go on from at an offset that the kernel handed back; 0 within the two dot entries. */
export function cookieOf(offset: bigint): number {
  return offset <= OFFSET_PARENT ? 0 : Number(offset - OFFSET_PARENT);
}

/** A reply that is filled until an entry no longer fits. */
export class Listing {
  readonly #reply: Buffer;
  readonly #isPlus: boolean;
  #at = REPLY_HEADER_BYTES;

  /** `length`: bytes that the kernel has room for. */
  constructor(length: number, options: { readonly plus: boolean }) {
    this.#reply = emptyReply(length);
    this.#isPlus = options.plus;
  }

  /** `.` or `..`, which take no lookup count. False when it does not fit. */
  addDot(name: '.' | '..', node: NodeReference): boolean {
    const offset = name === '.' ? OFFSET_SELF : OFFSET_PARENT;
    const at = this.#reserve(name.length);
    if (at === undefined) return false;
    this.#writeDirent(at, { name, node, kind: 'directory', offset });
    return true;
  }

  /** An entry of the file system. False when it does not fit. */
  add(entry: ListedEntry): boolean {
    const at = this.#reserve(entry.name.length);
    if (at === undefined) return false;
    if (this.#isPlus) writeEntry(this.#reply, at - ENTRY_BYTES, entry);
    const offset = BigInt(entry.cookie) + OFFSET_PARENT;
    this.#writeDirent(at, {
      name: entry.name,
      node: entry.node,
      kind: entry.attributes.kind,
      offset,
    });
    return true;
  }

  /** The reply, its header still to be written; empty of entries it says that the directory ends. */
  finish(): Buffer {
    return this.#reply.subarray(0, this.#at);
  }

  /** Takes room for one record; returns where its `fuse_dirent` begins. */
  #reserve(nameBytes: number): number | undefined {
    const entryBytes = this.#isPlus ? ENTRY_BYTES : 0;
    const bytes = entryBytes + Math.ceil((DIRENT_HEADER_BYTES + nameBytes) / 8) * 8;
    if (this.#at + bytes > this.#reply.length) return undefined;
    const at = this.#at + entryBytes;
    this.#at += bytes;
    return at;
  }

  #writeDirent(at: number, entry: Dirent): void {
    const reply = this.#reply;
    reply.writeUInt32LE(nodeIdLow(entry.node), at);
    reply.writeUInt32LE(nodeIdHigh(entry.node), at + 4);
    reply.writeBigUInt64LE(entry.offset, at + 8);
    reply.writeUInt32LE(entry.name.length, at + 16);
    reply.writeUInt32LE(typeBits(entry.kind) >>> 12, at + 20);
    reply.write(entry.name, at + DIRENT_HEADER_BYTES, 'latin1');
  }
}
