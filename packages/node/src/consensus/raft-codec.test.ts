import { fileURLToPath } from 'node:url';
import { decode, encode, HoldfastError } from '@holdfast/protocol';
import { type Message, membershipOf } from '@holdfast/raft';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import {
  decodeFrame,
  decodeSnapshotPart,
  encodeFrame,
  encodeSnapshotPart,
  type GroupMessage,
} from './raft-codec.ts';

const PROTO = fileURLToPath(new URL('../../../protocol/proto/raft.proto', import.meta.url));
const root = protobuf.loadSync(PROTO);
const Frame = root.lookupType('holdfast.v1.Frame');
const SnapshotPartType = root.lookupType('holdfast.v1.SnapshotPart');

const number = fc.oneof(
  fc.nat(),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 2 ** 32, 2 ** 53 - 1),
);
const data = fc.uint8Array({ maxLength: 400 });
const ids = fc.uniqueArray(fc.integer({ min: 1, max: 300 }), { maxLength: 5 });
const envelope = { from: number, to: number, term: number };
const record = <K extends Message['kind'], T>(kind: K, fields: T) =>
  fc.record({
    kind: fc.constant(kind),
    ...envelope,
    ...fields,
  } as never) as unknown as fc.Arbitrary<Message>;

const append = fc
  .tuple(
    fc.record({ ...envelope, prevIndex: fc.nat(), prevTerm: number, commit: number }),
    fc.array(fc.record({ term: number, isMembership: fc.boolean(), data }), { maxLength: 4 }),
  )
  .map(
    ([head, entries]): Message => ({
      kind: 'append',
      ...head,
      entries: entries.map(({ term, isMembership, data: bytes }, i) => ({
        index: head.prevIndex + 1 + i,
        term,
        kind: isMembership ? 'membership' : 'normal',
        data: bytes,
      })),
    }),
  );

const membership = fc.record({
  voters: ids,
  votersOutgoing: ids,
  learners: ids,
  learnersNext: ids,
});

const message: fc.Arbitrary<Message> = fc.oneof(
  append,
  record('preVote', { lastIndex: number, lastTerm: number }),
  record('preVoteReply', { granted: fc.boolean() }),
  record('vote', { lastIndex: number, lastTerm: number, transfer: fc.boolean() }),
  record('voteReply', { granted: fc.boolean() }),
  record('appendReply', {
    index: number,
    rejected: fc.boolean(),
    hintIndex: number,
    hintTerm: number,
  }),
  record('heartbeat', { commit: number, round: number }),
  record('heartbeatReply', { round: number }),
  record('installSnapshot', { snapshot: fc.record({ index: number, term: number, membership }) }),
  record('timeoutNow', {}),
);

const frame = fc.array(fc.record({ group: fc.nat(), message }), { maxLength: 6 });
/** Buffers and other byte arrays compare equal. */
const plain = (value: unknown) => decode(encode(value));

describe('raft on the wire', () => {
  it('comes back as it was sent', () => {
    fc.assert(
      fc.property(frame, (messages) => {
        expect(plain(decodeFrame(encodeFrame(messages)))).toEqual(plain(messages));
      }),
    );
  });

  it('is byte for byte what raft.proto describes', () => {
    fc.assert(
      fc.property(frame, (messages) => {
        const ours = encodeFrame(messages);
        const theirs = Frame.encode(Frame.decode(ours)).finish();
        expect(Buffer.compare(ours, theirs)).toBe(0);
      }),
    );
  });

  it('names every field as raft.proto does', () => {
    const sent: GroupMessage = {
      group: 7,
      message: {
        kind: 'installSnapshot',
        from: 1,
        to: 2,
        term: 3,
        snapshot: { index: 4, term: 5, membership: membershipOf([1, 2], [3]) },
      },
    };
    const seen = Frame.toObject(Frame.decode(encodeFrame([sent])), { longs: Number });
    expect(seen).toEqual({
      messages: [
        {
          group: 7,
          from: 1,
          to: 2,
          term: 3,
          installSnapshot: { index: 4, term: 5, membership: { voters: [1, 2], learners: [3] } },
        },
      ],
    });
  });

  it('skips what a later version added and drops messages of unknown kinds', () => {
    const later = root.lookupType('holdfast.v1.GroupMessage');
    const known = encodeFrame([
      { group: 1, message: { kind: 'timeoutNow', from: 1, to: 2, term: 3 } },
    ]);
    const unknownKind = later.encode({ group: 1, from: 1 }).finish();
    const bytes = Buffer.concat([
      known,
      Buffer.from([10, unknownKind.length]),
      unknownKind,
      Buffer.from([0xf8, 0x07, 1]),
    ]);
    expect(decodeFrame(bytes)).toHaveLength(1);
  });

  it('refuses bytes that are cut off or no protobuf', () => {
    const bytes = encodeFrame([
      { group: 1, message: { kind: 'heartbeat', from: 1, to: 2, term: 3, commit: 300, round: 9 } },
    ]);
    for (let length = 1; length < bytes.length; length += 1) {
      expect(() => decodeFrame(bytes.subarray(0, length))).toThrow('well-formed');
    }
    fc.assert(
      fc.property(fc.uint8Array(), (garbage) => {
        let thrown: unknown = 'nothing';
        try {
          decodeFrame(garbage);
        } catch (error) {
          thrown = error;
        }
        expect(thrown === 'nothing' || thrown instanceof HoldfastError).toBe(true);
      }),
    );
  });

  it('carries snapshots in parts', () => {
    const begin = {
      group: 1,
      message: { kind: 'timeoutNow', from: 1, to: 2, term: 3 },
    } as const satisfies GroupMessage;
    const parts = [
      { part: 'begin', begin },
      { part: 'data', data: Buffer.from('abc') },
      { part: 'data', data: Buffer.alloc(0) },
      { part: 'end', bytes: 3, crc: 0xfffffffe },
    ] as const;
    for (const part of parts) {
      const bytes = encodeSnapshotPart(part);
      expect(plain(decodeSnapshotPart(bytes))).toEqual(plain(part));
      expect(SnapshotPartType.verify(SnapshotPartType.decode(bytes))).toBe(null);
    }
    const end = SnapshotPartType.decode(encodeSnapshotPart(parts[3]));
    expect(SnapshotPartType.toObject(end, { longs: Number })).toEqual({
      end: { bytes: 3, crc: 0xfffffffe },
    });
  });
});
