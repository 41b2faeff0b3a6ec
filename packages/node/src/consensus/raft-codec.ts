/** Raft messages as bytes, as packages/protocol/proto/raft.proto describes them. */
import { HoldfastError } from '@holdfast/protocol';
import type { Entry, Membership, Message, MessageKind, SnapshotMeta } from '@holdfast/raft';
import { ProtobufWriter, readFields, readPacked } from './protobuf.ts';

/** A message and the group (shard) it belongs to. */
export interface GroupMessage {
  readonly group: number;
  readonly message: Message;
}

/** One message of a snapshot's stream. */
export type SnapshotPart =
  | { readonly part: 'begin'; readonly begin: GroupMessage }
  | { readonly part: 'data'; readonly data: Uint8Array }
  | { readonly part: 'end'; readonly bytes: number; readonly crc: number };

const BODY_FIELDS: Readonly<Record<MessageKind, number>> = {
  preVote: 5,
  preVoteReply: 6,
  vote: 7,
  voteReply: 8,
  append: 9,
  appendReply: 10,
  heartbeat: 11,
  heartbeatReply: 12,
  installSnapshot: 13,
  timeoutNow: 14,
};
const BODY_KINDS = new Map(
  Object.entries(BODY_FIELDS).map(([kind, field]) => [field, kind as MessageKind]),
);

/** A `Frame`. */
export function encodeFrame(messages: readonly GroupMessage[]): Buffer {
  const writer = new ProtobufWriter();
  for (const message of messages.toReversed()) {
    writer.message(1, () => writeGroupMessage(writer, message));
  }
  return writer.finish();
}

/** The messages of a `Frame`; those of unknown kinds are left out. Throws BAD_REQUEST. */
export function decodeFrame(bytes: Uint8Array): GroupMessage[] {
  const messages: GroupMessage[] = [];
  for (const { field, bytes: inner } of readFields(bytes)) {
    const message = field === 1 ? readGroupMessage(inner) : undefined;
    if (message !== undefined) messages.push(message);
  }
  return messages;
}

/** A `SnapshotPart`. */
export function encodeSnapshotPart(part: SnapshotPart): Buffer {
  const writer = new ProtobufWriter(part.part === 'data' ? part.data.length + 16 : 256);
  if (part.part === 'begin') writer.message(1, () => writeGroupMessage(writer, part.begin));
  else if (part.part === 'data') writer.bytes(2, part.data, true);
  else {
    writer.message(3, () => {
      writer.fixed32(2, part.crc);
      writer.uint(1, part.bytes);
    });
  }
  return writer.finish();
}

/** Inverse of {@link encodeSnapshotPart}. Throws BAD_REQUEST. */
export function decodeSnapshotPart(bytes: Uint8Array): SnapshotPart {
  for (const { field, bytes: inner } of readFields(bytes)) {
    if (field === 2) return { part: 'data', data: inner };
    if (field === 1) {
      const begin = readGroupMessage(inner);
      if (begin !== undefined) return { part: 'begin', begin };
    }
    if (field === 3) {
      const numbers = readNumbers(inner);
      return { part: 'end', bytes: numbers.get(1) ?? 0, crc: numbers.get(2) ?? 0 };
    }
  }
  throw new HoldfastError('BAD_REQUEST', 'a snapshot part of no known kind');
}

function writeGroupMessage(writer: ProtobufWriter, { group, message }: GroupMessage): void {
  writer.message(BODY_FIELDS[message.kind], () => writeBody(writer, message));
  writer.uint(4, message.term);
  writer.uint(3, message.to);
  writer.uint(2, message.from);
  writer.uint(1, group);
}

function writeBody(writer: ProtobufWriter, message: Message): void {
  switch (message.kind) {
    case 'preVote':
      writer.uint(2, message.lastTerm);
      writer.uint(1, message.lastIndex);
      return;
    case 'vote':
      writer.bool(3, message.transfer);
      writer.uint(2, message.lastTerm);
      writer.uint(1, message.lastIndex);
      return;
    case 'preVoteReply':
    case 'voteReply':
      writer.bool(1, message.granted);
      return;
    case 'append':
      for (const entry of message.entries.toReversed()) {
        writer.message(4, () => writeEntry(writer, entry));
      }
      writer.uint(3, message.commit);
      writer.uint(2, message.prevTerm);
      writer.uint(1, message.prevIndex);
      return;
    case 'appendReply':
      writer.uint(4, message.hintTerm);
      writer.uint(3, message.hintIndex);
      writer.bool(2, message.rejected);
      writer.uint(1, message.index);
      return;
    case 'heartbeat':
      writer.uint(2, message.round);
      writer.uint(1, message.commit);
      return;
    case 'heartbeatReply':
      writer.uint(1, message.round);
      return;
    case 'installSnapshot':
      writer.message(3, () => writeMembership(writer, message.snapshot.membership));
      writer.uint(2, message.snapshot.term);
      writer.uint(1, message.snapshot.index);
      return;
    case 'timeoutNow':
  }
}

function writeEntry(writer: ProtobufWriter, entry: Entry): void {
  writer.bytes(3, entry.data);
  writer.bool(2, entry.kind === 'membership');
  writer.uint(1, entry.term);
}

function writeMembership(writer: ProtobufWriter, membership: Membership): void {
  writer.uints(4, membership.learnersNext);
  writer.uints(3, membership.learners);
  writer.uints(2, membership.votersOutgoing);
  writer.uints(1, membership.voters);
}

type Numbers = ReadonlyMap<number, number>;

function readNumbers(bytes: Uint8Array): Numbers {
  return new Map(Array.from(readFields(bytes), ({ field, value }) => [field, value]));
}

function readGroupMessage(bytes: Uint8Array): GroupMessage | undefined {
  const numbers = new Map<number, number>();
  let kind: MessageKind | undefined;
  let body = bytes;
  for (const field of readFields(bytes)) {
    const bodyKind = BODY_KINDS.get(field.field);
    if (bodyKind === undefined) numbers.set(field.field, field.value);
    else {
      kind = bodyKind;
      body = field.bytes;
    }
  }
  if (kind === undefined) return undefined;
  const [from, to, term] = [2, 3, 4].map((field) => numbers.get(field) ?? 0) as [
    number,
    number,
    number,
  ];
  const message = readBody(kind, { from, to, term }, body);
  return { group: numbers.get(1) ?? 0, message };
}

interface Envelope {
  readonly from: number;
  readonly to: number;
  readonly term: number;
}

function readBody(kind: MessageKind, envelope: Envelope, body: Uint8Array): Message {
  if (kind === 'append') return readAppend(envelope, body);
  if (kind === 'installSnapshot') return { ...envelope, kind, snapshot: readSnapshot(body) };
  const numbers = readNumbers(body);
  const at = (field: number) => numbers.get(field) ?? 0;
  switch (kind) {
    case 'preVote':
      return { ...envelope, kind, lastIndex: at(1), lastTerm: at(2) };
    case 'vote':
      return { ...envelope, kind, lastIndex: at(1), lastTerm: at(2), transfer: at(3) !== 0 };
    case 'preVoteReply':
    case 'voteReply':
      return { ...envelope, kind, granted: at(1) !== 0 };
    case 'appendReply':
      return {
        ...envelope,
        kind,
        index: at(1),
        rejected: at(2) !== 0,
        hintIndex: at(3),
        hintTerm: at(4),
      };
    case 'heartbeat':
      return { ...envelope, kind, commit: at(1), round: at(2) };
    case 'heartbeatReply':
      return { ...envelope, kind, round: at(1) };
    case 'timeoutNow':
      return { ...envelope, kind };
  }
}

function readAppend(envelope: Envelope, body: Uint8Array): Message {
  const numbers = new Map<number, number>();
  const entries: Uint8Array[] = [];
  for (const { field, value, bytes } of readFields(body)) {
    if (field === 4) entries.push(bytes);
    else numbers.set(field, value);
  }
  const prevIndex = numbers.get(1) ?? 0;
  return {
    ...envelope,
    kind: 'append',
    prevIndex,
    prevTerm: numbers.get(2) ?? 0,
    commit: numbers.get(3) ?? 0,
    entries: entries.map((bytes, i) => readEntry(prevIndex + 1 + i, bytes)),
  };
}

function readEntry(index: number, bytes: Uint8Array): Entry {
  let term = 0;
  let kind: Entry['kind'] = 'normal';
  let data: Uint8Array = new Uint8Array(0);
  for (const field of readFields(bytes)) {
    if (field.field === 1) term = field.value;
    else if (field.field === 2) kind = entryKind(field.value);
    else if (field.field === 3) data = field.bytes;
  }
  return { index, term, kind, data };
}

/** A kind of a later version must not be taken for another: this replica cannot follow such a log. */
function entryKind(value: number): Entry['kind'] {
  if (value > 1) throw new HoldfastError('NEWER_FORMAT', `a log entry of unknown kind ${value}`);
  return value === 1 ? 'membership' : 'normal';
}

function readSnapshot(body: Uint8Array): SnapshotMeta {
  let index = 0;
  let term = 0;
  let membership = readMembership(new Uint8Array(0));
  for (const { field, value, bytes } of readFields(body)) {
    if (field === 1) index = value;
    else if (field === 2) term = value;
    else if (field === 3) membership = readMembership(bytes);
  }
  return { index, term, membership };
}

function readMembership(bytes: Uint8Array): Membership {
  const lists = new Map<number, number[]>();
  for (const { field, value, bytes: packed } of readFields(bytes)) {
    // A writer may also leave a list unpacked: one field for each number.
    const values = packed.length > 0 ? readPacked(packed) : [value];
    lists.set(field, [...(lists.get(field) ?? []), ...values]);
  }
  const list = (field: number) => lists.get(field) ?? [];
  return { voters: list(1), votersOutgoing: list(2), learners: list(3), learnersNext: list(4) };
}
