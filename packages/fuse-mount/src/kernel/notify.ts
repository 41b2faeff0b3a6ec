/** Notifications: messages to the kernel that answer no request (`fuse_notify_*_out`, unique 0). */
import type { NodeReference } from '@holdfast/protocol';
import { NOTIFY, REPLY_HEADER_BYTES } from './abi.ts';
import { nodeIdHigh, nodeIdLow } from './node-id.ts';

/** Drops a node's attributes and, from `offset` on (0: all; -1: none), its cached pages. */
export function encodeInvalidateInode(node: NodeReference, offset: number): Buffer {
  const message = notification(NOTIFY.invalidateInode, 24);
  writeNode(message, REPLY_HEADER_BYTES, node);
  message.writeBigInt64LE(BigInt(offset), REPLY_HEADER_BYTES + 8);
  // Length 0 reaches to the end of the file.
  return message;
}

/** Drops what the kernel believes about one name, a latin1 text. */
export function encodeInvalidateEntry(parent: NodeReference, name: string): Buffer {
  const message = notification(NOTIFY.invalidateEntry, 16 + name.length + 1);
  writeNode(message, REPLY_HEADER_BYTES, parent);
  message.writeUInt32LE(name.length, REPLY_HEADER_BYTES + 8);
  message.write(name, REPLY_HEADER_BYTES + 16, 'latin1');
  return message;
}

/** Asks the kernel to send every unanswered request again (INIT flag `resend`). */
export function encodeResend(): Buffer {
  return notification(NOTIFY.resend, 0);
}

/** Makes the kernel ask again for every name it knows (minor 44). */
export function encodeIncrementEpoch(): Buffer {
  return notification(NOTIFY.incrementEpoch, 0);
}

function notification(code: number, bodyBytes: number): Buffer {
  const message = Buffer.alloc(REPLY_HEADER_BYTES + bodyBytes);
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(code, 4);
  return message;
}

function writeNode(message: Buffer, at: number, node: NodeReference): void {
  message.writeUInt32LE(nodeIdLow(node), at);
  message.writeUInt32LE(nodeIdHigh(node), at + 4);
}
