/**
 * Discovery by kad-dht: a private network of the cluster's peers (pre-shared key, so that no one else
 * gets as far as a handshake) in which each stores a signed record of where it is.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import type { NodeNumber } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import { identify } from '@libp2p/identify';
import { type KadDHT, kadDHT, passthroughMapper } from '@libp2p/kad-dht';
import { ping } from '@libp2p/ping';
import { preSharedKey } from '@libp2p/pnet';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2p } from 'libp2p';
import type { Log } from '../telemetry/log.ts';
import type { PeerAddresses } from './address-book.ts';
import { multiaddrHost } from './addresses.ts';
import type { Discovery } from './discovery.ts';
import { type DiscoveryRecord, readRecord, recordKey, signRecord } from './discovery-record.ts';
import { writeBytesDurably } from './durable-files.ts';

/**
 * Milliseconds between two publications: doubled from the first to the second, and again from the
 * first with each peer met, since those known before may all have been the wrong ones to ask. Stored
 * records live for 48 hours.
 */
const PUBLISH_MS_MIN = 500;
const PUBLISH_MS_LATER = 600_000;
/** Milliseconds between attempts to meet anyone while nobody is connected. */
const LONELY_MS = 2_000;
const PUBLISH_MS_MAX = 15_000;
const FIND_MS_MAX = 5_000;
const DIAL_MS_MAX = 5_000;
/** Connections; the library's own bound would leave peers of a large cluster out. */
const CONNECTIONS_MAX = 4_096;
/** Peers that start at once may all come from one address (a test, a NAT). */
const INBOUND_PER_SECOND_MAX = 1_000;

/** What {@link startKadDiscovery} needs. */
export interface KadOptions {
  readonly clusterId: string;
  readonly self: NodeNumber;
  /** 32 bytes that only peers know. */
  readonly secret: Buffer;
  readonly tls: () => TlsMaterial;
  readonly isRevoked: (serial: string) => boolean;
  /** Directory for this peer's libp2p key. */
  readonly directory: string;
  /** IP address and port to listen on, and the host that others dial. */
  readonly bind: string;
  readonly port: number;
  readonly address: string;
  readonly log: Log;
}

type Node = Libp2p<{ dht: KadDHT }>;

/** Starts it. Rejects when the port is taken or the library cannot run here: a peer does without. */
export async function startKadDiscovery(options: KadOptions): Promise<Discovery> {
  const node = await createNode(options);
  return new KadDiscovery(node, options);
}

async function createNode(options: KadOptions): Promise<Node> {
  const { clusterId, bind, port, address, secret } = options;
  const validate = async (key: Uint8Array, value: Uint8Array): Promise<void> => {
    const record = readRecord(value, trustOf(options));
    if (new TextDecoder().decode(key) !== recordKey(clusterId, record.node))
      throw new RangeError('record under a wrong key');
  };
  const psk = Buffer.from(`/key/swarm/psk/1.0.0/\n/base16/\n${secret.toString('hex')}`);
  return createLibp2p({
    privateKey: await ownKey(options.directory),
    addresses: {
      listen: [`${multiaddrHost(bind)}/tcp/${port}`],
      announce: [`${multiaddrHost(address)}/tcp/${port}`],
    },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionProtector: preSharedKey({ psk }),
    connectionManager: {
      maxConnections: CONNECTIONS_MAX,
      inboundConnectionThreshold: INBOUND_PER_SECOND_MAX,
    },
    services: {
      identify: identify({ protocolPrefix: 'holdfast' }),
      ping: ping({ protocolPrefix: 'holdfast' }),
      dht: kadDHT({
        protocol: `/holdfast/${clusterId}/kad/1.0.0`,
        // On a LAN nobody has a public address: without these two nobody would answer, or be asked.
        clientMode: false,
        peerInfoMapper: passthroughMapper,
        // The first peer asks nobody.
        allowQueryWithZeroPeers: true,
        validators: { holdfast: validate },
        selectors: { holdfast: (_key, values) => newest(values, options) },
      }),
    },
  }) as unknown as Promise<Node>;
}

function trustOf({ clusterId, tls, isRevoked }: KadOptions): Parameters<typeof readRecord>[1] {
  return { clusterId, ca: tls().ca, isRevoked, now: Date.now() };
}

function newest(values: readonly Uint8Array[], options: KadOptions): number {
  const times = values.map((value) => tryRead(value, options)?.time ?? -1);
  return times.indexOf(Math.max(...times));
}

function tryRead(value: Uint8Array, options: KadOptions): DiscoveryRecord | undefined {
  try {
    return readRecord(value, trustOf(options));
  } catch {
    return undefined;
  }
}

/** The libp2p key of this peer: the same after a restart, so that others recognise it. */
async function ownKey(directory: string): Promise<Awaited<ReturnType<typeof generateKeyPair>>> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, 'key');
  try {
    return privateKeyFromProtobuf(await readFile(path));
  } catch {
    // Absent or damaged: the id is bound to the certificate by each record, so a new one does no harm.
    const key = await generateKeyPair('Ed25519');
    await writeBytesDurably(path, privateKeyToProtobuf(key), 0o600);
    return key;
  }
}

class KadDiscovery implements Discovery {
  readonly #node: Node;
  readonly #options: KadOptions;
  readonly #stop = new AbortController();
  #addresses: PeerAddresses | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = PUBLISH_MS_MIN;
  #met: readonly string[] = [];
  readonly #lonely: NodeJS.Timeout;

  constructor(node: Node, options: KadOptions) {
    this.#node = node;
    this.#options = options;
    // Whoever comes may be the first to hold our record for us.
    node.addEventListener('peer:identify', () => this.#publishSoon());
    this.#lonely = setInterval(() => {
      if (node.getConnections().length === 0) this.meet(this.#met);
    }, LONELY_MS);
  }

  get address(): string {
    return this.#node.getMultiaddrs()[0]?.toString() ?? '';
  }

  publish(addresses: PeerAddresses): void {
    this.#addresses = addresses;
    this.#publishSoon();
  }

  #publishSoon(): void {
    this.#pauseMs = PUBLISH_MS_MIN;
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#put()
        .catch((error: unknown) =>
          this.#options.log.debug({ event: 'discovery.unpublished', error }),
        )
        .finally(() => this.#schedule());
    }, this.#pauseMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, PUBLISH_MS_LATER);
  }

  async #put(): Promise<void> {
    if (this.#addresses === undefined) return;
    const { clusterId, self, tls } = this.#options;
    const { cert, key } = tls();
    const record = {
      ...this.#addresses,
      clusterId,
      node: self,
      time: Date.now(),
      discoveryAddress: this.address,
    };
    const value = signRecord(record, cert, key);
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(PUBLISH_MS_MAX)]);
    for await (const _ of this.#node.services.dht.put(keyBytes(clusterId, self), value, {
      signal,
    }));
  }

  async find(node: NodeNumber): Promise<PeerAddresses | undefined> {
    const { clusterId } = this.#options;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(FIND_MS_MAX)]);
    let best: DiscoveryRecord | undefined;
    try {
      for await (const event of this.#node.services.dht.get(keyBytes(clusterId, node), {
        signal,
      })) {
        const record = event.name === 'VALUE' ? tryRead(event.value, this.#options) : undefined;
        if (record?.node === node && record.time > (best?.time ?? -1)) best = record;
      }
    } catch (error) {
      // Nobody has it, or time is over: what came until then counts.
      this.#options.log.debug({ event: 'discovery.unfound', node, error });
    }
    if (best === undefined) return undefined;
    const { grpcAddress, wireAddress, adminAddress } = best;
    return { grpcAddress, wireAddress, adminAddress };
  }

  meet(addresses: readonly string[]): void {
    this.#met = addresses;
    const own = this.#node.peerId.toString();
    for (const address of addresses) {
      if (address === '' || address.endsWith(own)) continue;
      this.#dial(address).catch((error: unknown) =>
        this.#options.log.debug({ event: 'discovery.undialed', address, error }),
      );
    }
  }

  async #dial(address: string): Promise<void> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(DIAL_MS_MAX)]);
    await this.#node.dial(multiaddr(address), { signal });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearInterval(this.#lonely);
    await this.#node.stop();
  }
}

function keyBytes(clusterId: string, node: NodeNumber): Uint8Array {
  return new TextEncoder().encode(recordKey(clusterId, node));
}
