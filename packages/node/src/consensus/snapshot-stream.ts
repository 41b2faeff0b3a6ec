/** The call that carries one snapshot: see Install in packages/protocol/proto/raft.proto. */
import { once } from 'node:events';
import { crc32 } from 'node:zlib';
import type { Client, ServerReadableStream, ServiceError } from '@grpc/grpc-js';
import { HoldfastError } from '@holdfast/protocol';
import { decodeSnapshotPart, encodeSnapshotPart, type GroupMessage } from './raft-codec.ts';

/** Path of the call. */
export const INSTALL = '/holdfast.v1.Raft/Install';
/** Bytes of one data part of a snapshot. */
const SNAPSHOT_PART_BYTES = 256 * 1024;
/** Milliseconds without progress after which a snapshot's stream is given up. */
const SNAPSHOT_STALL_MS = 60_000;

function identity(bytes: Buffer): Buffer {
  return bytes;
}

/** A snapshot as the messages of its call. */
export async function* snapshotParts(
  begin: GroupMessage,
  stream: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  yield encodeSnapshotPart({ part: 'begin', begin });
  let bytes = 0;
  let crc = 0;
  for await (const piece of stream) {
    for (let at = 0; at < piece.length; at += SNAPSHOT_PART_BYTES) {
      const data = piece.subarray(at, at + SNAPSHOT_PART_BYTES);
      bytes += data.length;
      crc = crc32(data, crc);
      yield encodeSnapshotPart({ part: 'data', data });
    }
  }
  yield encodeSnapshotPart({ part: 'end', bytes, crc });
}

/** The messages of a call as they come; ends early when it is broken off; throws UNREACHABLE when it stands still. */
export async function* receivedParts(
  call: ServerReadableStream<Buffer, Buffer>,
): AsyncGenerator<Buffer> {
  const giveUp = () => call.destroy(new HoldfastError('UNREACHABLE', 'the snapshot stands still'));
  const parts = call[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (;;) {
    const stall = setTimeout(giveUp, SNAPSHOT_STALL_MS);
    const next = await parts.next().finally(() => clearTimeout(stall));
    if (next.done === true) return;
    yield next.value;
  }
}

/** The data of a snapshot's stream; throws CORRUPT unless all of it came as it was sent. */
export async function* snapshotData(parts: AsyncIterator<Buffer>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let crc = 0;
  for (;;) {
    const next = await parts.next();
    const part = next.done === true ? undefined : decodeSnapshotPart(next.value);
    if (part?.part === 'data') {
      bytes += part.data.length;
      crc = crc32(part.data, crc);
      yield part.data;
    } else if (part?.part === 'end' && part.bytes === bytes && part.crc === crc) return;
    else throw new HoldfastError('CORRUPT', 'a snapshot was cut off or changed on its way');
  }
}

/** Writes as fast as the peer reads; rejects when it answers with an error or stands still. */
export async function sendParts(
  client: Client,
  parts: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<void> {
  let settle: (error: ServiceError | null) => void = () => {};
  const answered = new Promise<void>((resolve, reject) => {
    settle = (error) => (error === null ? resolve() : reject(unreachable(error)));
  });
  answered.catch(() => {});
  const call = client.makeClientStreamRequest<Buffer, Buffer>(
    INSTALL,
    identity,
    identity,
    (error) => settle(error),
  );
  const cancel = () => call.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  let stall = setTimeout(cancel, SNAPSHOT_STALL_MS);
  try {
    for await (const part of parts) {
      clearTimeout(stall);
      stall = setTimeout(cancel, SNAPSHOT_STALL_MS);
      if (!call.write(part)) await Promise.race([once(call, 'drain'), answered]);
      if (signal.aborted) break;
    }
    call.end();
    clearTimeout(stall);
    stall = setTimeout(cancel, SNAPSHOT_STALL_MS);
    await answered;
  } catch (error) {
    call.cancel();
    throw error;
  } finally {
    clearTimeout(stall);
    signal.removeEventListener('abort', cancel);
  }
}

function unreachable(cause: ServiceError): HoldfastError {
  return new HoldfastError('UNREACHABLE', 'the snapshot was not taken', { cause });
}
