import {
  type Invalidation,
  type NodeAnswer,
  type NodeReference,
  SNAPSHOT_NUMBERS_FROM,
  type VolumeNumber,
} from '@holdfast/protocol';
import type { Channel } from './device/channel.ts';
import type { OpenHandles } from './handles.ts';
import { VALID_MS_MAX } from './kernel/encode.ts';
import { encodeInvalidateEntry, encodeInvalidateInode } from './kernel/notify.ts';

/** Offset of a notice that leaves the pages of a file alone. */
const NO_PAGES = -1;

/** What the kernel was told to believe about one volume. */
interface Beliefs {
  readonly nodes: Map<number, NodeReference>;
  readonly names: Map<string, { readonly parent: NodeReference; readonly name: string }>;
}

/** Inodes whose ACLs the kernel may have kept; the longest unused is dropped first, there too. */
const ACLS_MAX = 65_536;

type Generation = Map<VolumeNumber, Beliefs>;

/**
 * Drops what the kernel believes. It remembers which answers carried a time; since no answer is
 * valid for longer than VALID_MS_MAX, two generations of that length hold all that can still be
 * believed, and nothing has to be counted or forgotten. What is in snapshots never changes.
 */
export class Invalidator {
  readonly #channel: Pick<Channel, 'notify' | 'notifyNow'>;
  readonly #handles: OpenHandles;
  readonly #nowMs: () => number;
  /** Until then the kernel may believe answers of an earlier daemon. */
  readonly #unknownUntilMs: number;
  #current: Generation = new Map();
  #previous: Generation = new Map();
  #rotatedAtMs: number;
  /** Inodes of which the kernel may keep ACLs: these have no time. By volume and inode. */
  readonly #acls = new Map<string, NodeReference>();
  readonly #isBelieved: (volume: VolumeNumber) => boolean;

  /** `isRestart`: an earlier daemon has answered on this connection. */
  constructor(options: {
    readonly channel: Pick<Channel, 'notify' | 'notifyNow'>;
    readonly handles: OpenHandles;
    /** FileSystem.isBelieved. */
    readonly isBelieved: (volume: VolumeNumber) => boolean;
    readonly isRestart: boolean;
    /** Milliseconds of a clock that never goes back. */
    readonly nowMs: () => number;
  }) {
    this.#channel = options.channel;
    this.#handles = options.handles;
    this.#isBelieved = options.isBelieved;
    this.#nowMs = options.nowMs;
    this.#rotatedAtMs = options.nowMs();
    this.#unknownUntilMs = options.isRestart ? this.#rotatedAtMs + VALID_MS_MAX : 0;
  }

  /** Remembers attributes that are about to be answered. */
  attributesAnswered(answer: NodeAnswer): void {
    if (canChange(answer))
      this.#beliefs(answer.node.volume).nodes.set(answer.node.ino, answer.node);
  }

  /** Remembers a name that is about to be answered. */
  nameAnswered(parent: NodeReference, name: string, answer: NodeAnswer): void {
    if (!canChange(answer)) return;
    this.attributesAnswered(answer);
    this.#beliefs(answer.node.volume).names.set(`${parent.ino}/${name}`, { parent, name });
  }

  /**
   * Remembers the names of a rename that is about to be done. Within the kernel an entry moves, with the
   * time for which it may be believed, without any answer naming its new place.
   */
  namesMoving(
    ...names: readonly { readonly parent: NodeReference; readonly name: string }[]
  ): void {
    for (const { parent, name } of names)
      this.#beliefs(parent.volume).names.set(`${parent.ino}/${name}`, { parent, name });
  }

  /**
   * Asks for an ACL that the kernel will keep until it forgets the inode's attributes, whatever becomes
   * of it elsewhere. Where that may be wrong it is told to forget before it is answered: then it uses
   * the answer, and keeps nothing. Nothing holds such a notice up: it takes no locks, and who waits for the
   * answer holds the inode.
   */
  async askingAcl<T>(node: NodeReference, ask: () => Promise<T>): Promise<T> {
    if (node.volume >= SNAPSHOT_NUMBERS_FROM) return ask();
    const key = `${node.volume}/${node.ino}`;
    this.#acls.delete(key);
    this.#acls.set(key, node);
    for (const [oldest, other] of this.#acls) {
      if (this.#acls.size <= ACLS_MAX) break;
      this.#acls.delete(oldest);
      void this.#channel.notify(encodeInvalidateInode(other, NO_PAGES));
    }
    const wasBelieved = this.#isBelieved(node.volume);
    try {
      return await ask();
    } finally {
      if (!wasBelieved || !this.#isBelieved(node.volume)) {
        this.#acls.delete(key);
        this.#channel.notifyNow(encodeInvalidateInode(node, NO_PAGES));
      }
    }
  }

  /**
   * Resolves when the kernel no longer believes what is named. It may wait for requests that this
   * daemon must answer meanwhile, so no reply may wait for it.
   */
  async invalidate(what: Exclude<Invalidation, { what: 'handles' }>): Promise<void> {
    if (what.what === 'inode') return this.#channel.notify(encodeInvalidateInode(what.node, 0));
    if (what.what === 'entry') {
      return this.#channel.notify(encodeInvalidateEntry(what.parent, what.name));
    }
    await this.#invalidateVolume(what.volume);
  }

  async #invalidateVolume(volume: VolumeNumber): Promise<void> {
    const nodes = new Map<number, NodeReference>();
    const messages: Buffer[] = [];
    for (const generation of [this.#previous, this.#current]) {
      const beliefs = generation.get(volume);
      if (beliefs === undefined) continue;
      for (const [ino, node] of beliefs.nodes) nodes.set(ino, node);
      for (const { parent, name } of beliefs.names.values()) {
        messages.push(encodeInvalidateEntry(parent, name));
      }
      generation.delete(volume);
    }
    // Pages of mapped files stay however long ago they were read.
    for (const [, { node }] of this.#handles.entries()) {
      if (node.volume === volume) nodes.set(node.ino, node);
    }
    for (const node of nodes.values()) messages.push(encodeInvalidateInode(node, 0));
    for (const [key, node] of this.#acls) {
      if (node.volume !== volume) continue;
      this.#acls.delete(key);
      if (!nodes.has(node.ino)) messages.push(encodeInvalidateInode(node, NO_PAGES));
    }
    await Promise.all(messages.map((message) => this.#channel.notify(message)));
    const waitMs = this.#unknownUntilMs - this.#nowMs();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }

  #beliefs(volume: VolumeNumber): Beliefs {
    if (this.#nowMs() - this.#rotatedAtMs > VALID_MS_MAX) {
      this.#previous = this.#current;
      this.#current = new Map();
      this.#rotatedAtMs = this.#nowMs();
    }
    let beliefs = this.#current.get(volume);
    if (beliefs === undefined) {
      beliefs = { nodes: new Map(), names: new Map() };
      this.#current.set(volume, beliefs);
    }
    return beliefs;
  }
}

/** Whether something is believed that may come to be wrong. */
function canChange({ node, validMs }: NodeAnswer): boolean {
  return validMs > 0 && node.volume < SNAPSHOT_NUMBERS_FROM;
}
