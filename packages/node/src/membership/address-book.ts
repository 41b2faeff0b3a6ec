/** Where each peer can be reached now: the map's word, unless a newer one was found. */
import type { NodeNumber } from '@holdfast/protocol';
import type { MapCache } from './map-cache.ts';

/** The addresses of one peer, host:port. */
export interface PeerAddresses {
  readonly grpcAddress: string;
  readonly wireAddress: string;
  readonly adminAddress: string;
}

interface Found {
  readonly addresses: PeerAddresses;
  /** What the map said when this was found: when it says something else, the map is newer. */
  readonly mapped: string;
}

/** The map, overlaid with what discovery has found. */
export class AddressBook {
  readonly #map: MapCache;
  readonly #found = new Map<NodeNumber, Found>();

  constructor(map: MapCache) {
    this.#map = map;
  }

  /** Host:port of one of the peer's services; undefined when nobody has told. */
  of(node: NodeNumber, service: keyof PeerAddresses): string | undefined {
    const record = this.#map.node(node);
    const found = this.#found.get(node);
    if (found !== undefined && found.mapped === (record?.grpcAddress ?? ''))
      return found.addresses[service];
    return record?.[service];
  }

  /** Takes what discovery found, to hold until the map itself changes. Answers whether it was news. */
  note(node: NodeNumber, addresses: PeerAddresses): boolean {
    const isNews =
      this.of(node, 'grpcAddress') !== addresses.grpcAddress ||
      this.of(node, 'wireAddress') !== addresses.wireAddress;
    if (isNews)
      this.#found.set(node, { addresses, mapped: this.#map.node(node)?.grpcAddress ?? '' });
    return isNews;
  }
}
