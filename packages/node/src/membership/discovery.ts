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

/** Another discovery that is still being started; until then, and if that fails, it knows nothing. */
export class EventualDiscovery implements Discovery {
  #inner: Discovery = LAST_KNOWN_ADDRESSES;
  #addresses: PeerAddresses | undefined;
  #met: readonly string[] = [];
  readonly #starting: Promise<void>;

  constructor(start: () => Promise<Discovery>, onFailure: (error: unknown) => void) {
    this.#starting = start().then((inner) => {
      this.#inner = inner;
      if (this.#addresses !== undefined) inner.publish(this.#addresses);
      inner.meet(this.#met);
    }, onFailure);
  }

  get address(): string {
    return this.#inner.address;
  }

  publish(addresses: PeerAddresses): void {
    this.#addresses = addresses;
    this.#inner.publish(addresses);
  }

  find(node: NodeNumber): Promise<PeerAddresses | undefined> {
    return this.#inner.find(node);
  }

  meet(addresses: readonly string[]): void {
    this.#met = addresses;
    this.#inner.meet(addresses);
  }

  async close(): Promise<void> {
    await this.#starting;
    await this.#inner.close();
  }
}
