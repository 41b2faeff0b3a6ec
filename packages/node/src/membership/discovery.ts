/** Finding peers whose addresses are not what the map says. It only ever finds: who is a member, the map says. */
import type { NodeNumber } from '@holdfast/protocol';
import type { PeerAddresses } from './address-book.ts';

/** Where peers are now. */
export interface Discovery {
  /** This peer's libp2p address for others to begin with; '' when there is none. */
  readonly address: string;
  /** Tells the others where this peer is. Never throws: it is repeated until closed. */
  publish(addresses: PeerAddresses): void;
  /** Where a peer says it is; undefined when nobody knows. Takes seconds at most. */
  find(node: NodeNumber): Promise<PeerAddresses | undefined>;
  /** More peers to begin with, as libp2p addresses. */
  meet(addresses: readonly string[]): void;
  close(): Promise<void>;
}

/** Knows nothing but what is on disk already: map.json, which the address book reads anyway. */
export const LAST_KNOWN_ADDRESSES: Discovery = {
  address: '',
  publish: () => undefined,
  find: () => Promise.resolve(undefined),
  meet: () => undefined,
  close: () => Promise.resolve(),
};
