/** What a handler is: a typed request in, a reply or a HoldfastError out. */
import type { FileSystem, NodeAnswer } from '@holdfast/protocol';
import type { Reply } from '../device/channel.ts';
import type { OpenHandles } from '../handles.ts';
import type { Invalidator } from '../invalidate.ts';
import { emptyReply, encodeAttributes, encodeEntry } from '../kernel/encode.ts';
import type { BodyOf, OperationName } from '../kernel/requests.ts';
import type { LockOwners } from '../lock-owners.ts';
import type { MappedPages } from '../mapped-pages.ts';
import type { PendingRequest } from '../pending-request.ts';

/** What all handlers of one mount share. */
export interface MountState {
  readonly fileSystem: FileSystem;
  readonly handles: OpenHandles;
  readonly invalidator: Invalidator;
  readonly lockOwners: LockOwners;
  readonly mappedPages: MappedPages;
  /** Flags of every OPEN reply (OPEN_REPLY). */
  readonly openReplyFlags: number;
  /** The kernel judges by ACLs; else they are not served. */
  readonly hasAcls: boolean;
}

/** Operations that are answered by handlers; the others have no reply, or belong to the connection. */
export type HandledOperation = Exclude<
  OperationName,
  'init' | 'forget' | 'batchForget' | 'interrupt'
>;

/** Answers one operation; a thrown HoldfastError becomes its errno, anything else EIO. */
export type Handler<Op extends OperationName> = (
  body: BodyOf<Op>,
  request: PendingRequest,
  state: MountState,
) => Promise<Reply> | Reply;

/** Handlers of a family of operations. */
export type HandlerTable<Op extends OperationName> = { readonly [Name in Op]: Handler<Name> };

/** Success with nothing to say. Made anew for each request, because the header is written into it. */
export function done(): Reply {
  return emptyReply(0);
}

/** Replies with a name's node and lets the invalidator know. */
export function entryReply(
  answer: NodeAnswer,
  name: string,
  request: PendingRequest,
  state: MountState,
): Reply {
  state.invalidator.nameAnswered(request.node, name, answer);
  return encodeEntry(answer);
}

/** Replies with attributes and lets the invalidator know. */
export function attributesReply(answer: NodeAnswer, state: MountState): Reply {
  state.invalidator.attributesAnswered(answer);
  return encodeAttributes(answer);
}

/** The mode of what is made, with the umask and without. */
export function modesOf(
  mode: number,
  umask: number,
): { readonly mode: number; readonly unmaskedMode: number } {
  return { mode: mode & ~umask, unmaskedMode: mode };
}
