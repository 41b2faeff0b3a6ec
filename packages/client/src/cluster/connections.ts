import type { NodeNumber } from '@holdfast/protocol';
import { type TlsMaterial, WireClient } from '@holdfast/wire';

/** A lane is a connection of its own, so that small requests never queue behind bulk. */
export type Lane = 'meta' | 'bulk';

/** What {@link Connections} needs to know. */
export interface ConnectionsOptions {
  /** Asked at every connect: certificates are renewed while we run. */
  readonly tls: () => TlsMaterial;
  readonly clusterId: string;
  /** Present address (host:port) of a peer; undefined when it is in no map we know. */
  readonly addressOf: (node: NodeNumber) => string | undefined;
  readonly onNotice: (method: string, header: unknown) => void;
  readonly connectTimeoutMs: number;
}

/** One connection per peer and lane, made when first used and again after it broke. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #open = new Map<string, { client: WireClient; address: string }>();
  #isClosed = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** The connection to a peer of the map; undefined when its address is unknown. */
  to(node: NodeNumber, lane: Lane): WireClient | undefined {
    const address = this.#options.addressOf(node);
    return address === undefined ? undefined : this.at(address, lane, node);
  }

  /** The connection to an address; with `node` given, only that peer's certificate is accepted. */
  at(address: string, lane: Lane, node?: NodeNumber): WireClient {
    const key = `${node ?? address}/${lane}`;
    const known = this.#open.get(key);
    if (known !== undefined && known.address === address && known.client.state !== 'closed') {
      return known.client;
    }
    void known?.client.close();
    const { tls } = this.#options;
    const client = new WireClient({
      get tls() {
        return tls();
      },
      clusterId: this.#options.clusterId,
      address,
      connectTimeoutMs: this.#options.connectTimeoutMs,
      onNotice: this.#options.onNotice,
      ...(node === undefined ? {} : { expectNode: node }),
    });
    // Who asks after the end gets one that refuses: a connection made now would be nobody's to end.
    if (this.#isClosed) void client.close();
    else this.#open.set(key, { client, address });
    return client;
  }

  /** Whether {@link close} was called. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Ends every connection; calls in flight fail with UNREACHABLE, later ones with SHUTTING_DOWN. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const clients = [...this.#open.values()].map((entry) => entry.client);
    this.#open.clear();
    await Promise.all(clients.map((client) => client.close()));
  }
}
