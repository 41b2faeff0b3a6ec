/** Who is alive, as the leader of the system shard sees it. */
import type { NodeChanges, RegistryChange } from '@holdfast/placement';
import { HoldfastError, type NodeNumber, type NodeRecord } from '@holdfast/protocol';
import type { HeartbeatRequest } from '../rpc/messages.ts';

/** How long silence may last. */
export interface LivenessLimits {
  /** Milliseconds without a sign of life after which a peer is down. */
  readonly downAfterMs: number;
  /** Milliseconds that a peer may be down before it is out and its data is copied elsewhere. */
  readonly outAfterMs: number;
}

interface Sign {
  at: number;
  downSince: number | undefined;
}

/** How long a peer has given no sign of life. */
export interface PeerSilence {
  readonly node: NodeNumber;
  readonly silentMs: number;
}

/** What {@link Liveness} works with. Times are milliseconds of a clock that never jumps. */
export interface LivenessOptions extends LivenessLimits {
  readonly now: () => number;
  readonly node: (number: NodeNumber) => NodeRecord | undefined;
  readonly execute: (change: RegistryChange) => Promise<unknown>;
}

/**
 * Signs of life and the verdicts that follow from them. It lives as long as the peer, but counts only
 * while the peer leads: {@link begin} gives everyone a whole lease, since signs of life before that
 * went to another leader.
 */
export class Liveness {
  readonly #options: LivenessOptions;
  readonly #signs = new Map<NodeNumber, Sign>();
  #since = 0;

  constructor(options: LivenessOptions) {
    this.#options = options;
  }

  /** This peer has become the leader. */
  begin(): void {
    this.#signs.clear();
    this.#since = this.#options.now();
  }

  /** A sign of life: brings a peer back up, and its new addresses into the map. Throws CONFLICT for another incarnation. */
  async heard(number: NodeNumber, sign: HeartbeatRequest): Promise<void> {
    const node = this.#options.node(number);
    if (node === undefined)
      throw new HoldfastError(
        'FORBIDDEN',
        `peer ${number} was removed from the cluster; empty its data directory and join again`,
      );
    if (node.incarnation !== sign.incarnation) {
      throw new HoldfastError(
        'CONFLICT',
        `peer ${number} has another data directory now; empty this one and join again`,
      );
    }
    this.#signs.set(number, { at: this.#options.now(), downSince: undefined });
    const changes = changesOf(node, sign);
    if (Object.keys(changes).length > 0) {
      await this.#options.execute({
        op: 'update-node',
        node: number,
        incarnation: sign.incarnation,
        changes,
      });
    }
    if (node.state === 'down' || node.state === 'out') {
      await this.#options.execute({
        op: 'set-node-state',
        node: number,
        state: 'up',
        from: ['down', 'out'],
      });
    }
  }

  /** Milliseconds since the last sign of life of each peer that gave one to this leader. */
  silences(): readonly PeerSilence[] {
    const now = this.#options.now();
    return [...this.#signs]
      .filter(([, sign]) => sign.at > this.#since)
      .map(([node, sign]) => ({ node, silentMs: Math.max(0, Math.round(now - sign.at)) }));
  }

  /** What silence has made of the peers. */
  verdicts(nodes: readonly NodeRecord[]): RegistryChange[] {
    const now = this.#options.now();
    return nodes.flatMap((node): RegistryChange[] => {
      const sign = this.#signs.get(node.number) ?? { at: this.#since, downSince: undefined };
      if (now - sign.at < this.#options.downAfterMs) return [];
      if (node.state === 'up')
        return [{ op: 'set-node-state', node: node.number, state: 'down', from: ['up'] }];
      if (node.state !== 'down') return [];
      sign.downSince ??= now;
      this.#signs.set(node.number, sign);
      if (now - sign.downSince < this.#options.outAfterMs) return [];
      return [{ op: 'set-node-state', node: node.number, state: 'out', from: ['down'] }];
    });
  }
}

function changesOf(node: NodeRecord, sign: HeartbeatRequest): NodeChanges {
  const keys = ['grpcAddress', 'wireAddress', 'adminAddress', 'discoveryAddress', 'zone'] as const;
  const changed = keys.filter((key) => node[key] !== sign[key]);
  const changes: NodeChanges = Object.fromEntries(changed.map((key) => [key, sign[key]]));
  // A peer that is being emptied shows no weight: nothing to compare with.
  const isWeighed = node.state === 'up' || node.state === 'down';
  return isWeighed && node.weight !== sign.weight ? { ...changes, weight: sign.weight } : changes;
}
