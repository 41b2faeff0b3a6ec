/** What changed in a volume since the snapshot that its last backup was made of. */
import type { ClusterClient } from '@holdfast/client';
import { HoldfastError, type InodeNumber, ROOT_INODE, type VolumeRecord } from '@holdfast/protocol';
import type { SourceEntry, TreeChange } from '@holdfast/tree';

/** Changed inodes that are kept in memory; with more of them a walk costs no more than they do. */
const CHANGES_MAX = 1_000_000;

/** Two snapshots of a volume, by their generations. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Inodes that changed, and directories below which some did. */
interface Changed {
  /** By number: whether its bytes may have. */
  readonly content: ReadonlyMap<number, boolean>;
  /** Undefined when it is not known of each where it is. */
  readonly above: ReadonlySet<number> | undefined;
}

class Climb {
  readonly above = new Set<number>();
  readonly #parents = new Map<number, InodeNumber>();
  readonly #ask: (ino: InodeNumber) => Promise<InodeNumber>;
  isComplete = true;

  constructor(ask: (ino: InodeNumber) => Promise<InodeNumber>) {
    this.#ask = ask;
  }

  /** An inode that changed, and where it is. */
  add(ino: InodeNumber, parent: InodeNumber | undefined): void {
    if (parent === undefined) this.isComplete = false;
    else this.#parents.set(ino, parent);
  }

  /** All directories above those that were added. */
  async climb(): Promise<void> {
    for (const parent of this.#parents.values()) {
      for (let at = parent; !this.above.has(at); ) {
        this.above.add(at);
        if (at === ROOT_INODE) break;
        at = this.#parents.get(at) ?? (await this.#ask(at));
      }
    }
  }
}

/** Adds the change up; undefined when it is too much. ESTALE when a snapshot is gone. */
async function changedIn(
  client: ClusterClient,
  volume: VolumeRecord,
  span: Span,
  signal: AbortSignal,
): Promise<Changed | undefined> {
  const content = new Map<number, boolean>();
  const climb = new Climb((ino) => client.snapshots.parentAt(volume, ino, span.to, signal));
  for await (const page of client.snapshots.changes(volume, span, signal)) {
    for (const change of page) {
      if (change.kind === 'removed') continue; // the directory that held it has changed, too
      content.set(change.ino, change.kind === 'created' || change.content);
      climb.add(change.ino, change.parent);
    }
    if (content.size > CHANGES_MAX) return undefined;
  }
  if (climb.isComplete) await climb.climb();
  return { content, above: climb.isComplete ? climb.above : undefined };
}

/**
 * What a walk need not look at: at the cost of the change, not of the volume. Undefined when that cannot
 * be told (any more): then all is looked at.
 */
export async function changeSince(
  client: ClusterClient,
  volume: VolumeRecord,
  span: Span,
  signal: AbortSignal,
): Promise<TreeChange | undefined> {
  const changed = await changedIn(client, volume, span, signal).catch((error: unknown) => {
    if (isGone(error)) return undefined;
    throw error;
  });
  if (changed === undefined) return undefined;
  const { content, above } = changed;
  return {
    isSame: ({ kind, inode }) => {
      const ino = Number(inode);
      if (content.has(ino)) return false;
      return kind !== 'directory' || (above !== undefined && !above.has(ino));
    },
    isSameContent: ({ inode }) => content.get(Number(inode)) === false,
    changedRanges: async ({ inode }: SourceEntry) => {
      const ino = Number(inode) as InodeNumber;
      try {
        return await client.snapshots.changedRanges(volume, ino, span, signal);
      } catch (error) {
        if (isGone(error)) return undefined;
        throw error;
      }
    },
  };
}

/** Whether a user has removed the older snapshot meanwhile: without it there is nothing to compare with. */
function isGone(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'ESTALE';
}
