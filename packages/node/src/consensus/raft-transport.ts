import type { NodeNumber } from '@holdfast/protocol';
import type { GroupMessage } from './raft-codec.ts';

/** What a transport tells its owner. */
export interface TransportReceiver {
  /** Messages of a peer, whose certificate vouches for their `from`. */
  messages(from: NodeNumber, messages: readonly GroupMessage[]): void;
  /** A message to the peer was dropped, or its connection broke. */
  unreachable(node: NodeNumber): void;
  /**
   * A peer streams a snapshot for the group of `begin`, an `installSnapshot`. Resolves when all of it
   * was taken in and the group has been told; a rejection breaks the stream off.
   */
  snapshot(begin: GroupMessage, stream: AsyncIterable<Uint8Array>): Promise<void>;
}

/**
 * Carries messages between the replicas of all groups. It may lose, delay, repeat and reorder them;
 * it never changes one. A transport that drops at will stands for a bad network in tests.
 */
export interface RaftTransport {
  start(receiver: TransportReceiver): void;
  /** Never waits; drops when a bound is reached. */
  send(message: GroupMessage): void;
  /** Streams a snapshot to `begin.message.to`; rejects with UNREACHABLE or the receiver's error. */
  sendSnapshot(
    begin: GroupMessage,
    stream: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void>;
  close(): Promise<void>;
}
