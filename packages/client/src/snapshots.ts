import { randomInt } from 'node:crypto';
import {
  HoldfastError,
  type InodeDifference,
  type InodeNumber,
  LIMITS,
  ROOT_INODE,
  type Snapshot,
  SYSTEM_SHARD,
  type View,
  type ViewAnswers,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { Cluster } from './cluster/cluster.ts';
import type { Volumes } from './volumes.ts';

/** A linearizable look at a volume with the client's session. */
export type ViewVolume = <V extends View>(
  volume: VolumeRecord,
  view: V,
  signal?: AbortSignal,
) => Promise<ViewAnswers[V['view']]>;

/** What {@link Snapshots} works with. */
export interface SnapshotsOptions {
  readonly cluster: Pick<Cluster, 'callLeader'>;
  readonly volumes: Pick<Volumes, 'get'>;
  readonly view: ViewVolume;
}

/** How one inode differs, and what it was and is called: bytes as latin1, '' for the root; absent where it is not. */
export type NamedDifference = InodeDifference & {
  readonly pathBefore?: string;
  readonly pathAfter?: string;
};

/** The snapshots of volumes. */
export class Snapshots {
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /**
   * Snapshots a volume: all that was acknowledged on any host before the call is in it. `name`: its
   * time in UTC by default; `origin`: of one that was received; `byFiller`: who asks is filling the volume.
   * NOT_FOUND, EEXIST, EINVAL, ENAMETOOLONG, CONFLICT while it is half filled, ENOSPC above
   * LIMITS.snapshotsMax.
   */
  async create(
    volume: string,
    name?: string,
    {
      origin,
      byFiller,
      signal,
    }: {
      readonly origin?: string;
      readonly byFiller?: boolean;
      readonly signal?: AbortSignal;
    } = {},
  ): Promise<Snapshot> {
    // Tells this request, however often it is sent, from others for the same name.
    const timeNs = BigInt(Date.now()) * 1_000_000n + BigInt(randomInt(1_000_000));
    const header = {
      volume,
      timeNs,
      ...(name !== undefined && { name }),
      ...(origin !== undefined && { origin }),
      ...(byFiller !== undefined && { byFiller }),
    };
    return (await this.#call<{ snapshot: Snapshot }>('create', header, signal)).snapshot;
  }

  /** All snapshots of a volume, oldest first. NOT_FOUND. */
  async list(volume: string, signal?: AbortSignal): Promise<readonly Snapshot[]> {
    const { cluster } = this.#options;
    const { header } = await cluster.callLeader<{ snapshots: Snapshot[] }>(
      SYSTEM_SHARD,
      'registry.snapshots',
      { volume },
      signal,
    );
    return header.snapshots;
  }

  /** One snapshot, with the bytes that only it shows: what removing it would give back. NOT_FOUND. */
  async measure(
    volume: string,
    name: string,
    signal?: AbortSignal,
  ): Promise<Snapshot & ViewAnswers['snapshot-space']> {
    type Answer = { snapshot: Snapshot & ViewAnswers['snapshot-space'] };
    return (await this.#call<Answer>('measure', { volume, name }, signal)).snapshot;
  }

  /** Removes a snapshot; while it has clones, its space stays with them. NOT_FOUND. */
  async remove(volume: string, name: string, signal?: AbortSignal): Promise<void> {
    await this.#call('remove', { volume, name }, signal);
  }

  /**
   * Shows a volume as a snapshot of it again; answers the snapshot that keeps what it was until now.
   * Files that are open in it are void then, on every host. NOT_FOUND; CONFLICT while hosts have it
   * attached and it is not forced, or somebody fills it who is not asking (`byFiller`); ENOSPC, EINVAL.
   */
  async rollBack(
    volume: string,
    name: string,
    { force, byFiller = false }: { readonly force: boolean; readonly byFiller?: boolean },
    signal?: AbortSignal,
  ): Promise<Snapshot> {
    const timeNs = BigInt(Date.now()) * 1_000_000n + BigInt(randomInt(1_000_000));
    const header = { volume, name, force, byFiller, timeNs };
    return (await this.#call<{ snapshot: Snapshot }>('rollback', header, signal)).snapshot;
  }

  async #call<T>(what: string, header: unknown, signal?: AbortSignal): Promise<T> {
    const { cluster } = this.#options;
    const method = `registry.snapshot-${what}`;
    return (await cluster.callLeader<T>(SYSTEM_SHARD, method, header, signal)).header;
  }

  /**
   * What changed between two snapshots, or since one of them (`to` absent), with names. The inodes
   * come at the cost of the change; their names are looked for in the whole tree, until all are found.
   * Of several names of an inode one is told. Up to now, what changes meanwhile may be missed.
   * NOT_FOUND; EINVAL when `to` is not the newer one.
   */
  async differences(
    volume: string,
    { from, to }: { readonly from: string; readonly to?: string },
    signal?: AbortSignal,
  ): Promise<readonly NamedDifference[]> {
    const record = await this.#options.volumes.get(volume, signal);
    if (record === undefined)
      throw new HoldfastError('NOT_FOUND', `there is no volume '${volume}'`);
    const all = await this.list(volume, signal);
    const older = named(all, volume, from).generation;
    const newer = to === undefined ? undefined : named(all, volume, to).generation;
    if (newer !== undefined && newer <= older) {
      throw new HoldfastError(
        'EINVAL',
        `'${to}' is not newer than '${from}': name the older first`,
      );
    }
    const changes: InodeDifference[] = [];
    let after: string | undefined = '';
    while (after !== undefined) {
      const view = {
        view: 'difference',
        from: older,
        after,
        count: LIMITS.differencesMax,
      } as const;
      const page: ViewAnswers['difference'] = await this.#options.view(
        record,
        at(view, newer),
        signal,
      );
      changes.push(...page.changes);
      after = page.next;
    }
    const was = await this.#paths(record, older, inosOf(changes, 'created'), signal);
    const is = await this.#paths(record, newer, inosOf(changes, 'removed'), signal);
    return changes.map((change) => {
      const [pathBefore, pathAfter] = [was.get(change.ino), is.get(change.ino)];
      return {
        ...change,
        ...(pathBefore !== undefined && { pathBefore }),
        ...(pathAfter !== undefined && { pathAfter }),
      };
    });
  }

  /**
   * What changed between the snapshots of two generations, without names, a page at a time: at the cost
   * of the change, unless the volume was rolled back in between. ESTALE when one of them is gone.
   */
  async *changes(
    volume: VolumeRecord,
    { from, to }: { readonly from: number; readonly to: number },
    signal?: AbortSignal,
  ): AsyncGenerator<readonly InodeDifference[]> {
    const count = LIMITS.differencesMax;
    for (let after: string | undefined = ''; after !== undefined; ) {
      const view = { view: 'difference', from, after, count, at: to } as const;
      const page: ViewAnswers['difference'] = await this.#options.view(volume, view, signal);
      yield page.changes;
      after = page.next;
    }
  }

  /** Ranges of a file that may differ between the snapshots of two generations, ascending. ESTALE. */
  async changedRanges(
    volume: VolumeRecord,
    ino: InodeNumber,
    { from, to }: { readonly from: number; readonly to: number },
    signal?: AbortSignal,
  ): Promise<readonly { readonly offset: number; readonly length: number }[]> {
    const ranges: { readonly offset: number; readonly length: number }[] = [];
    for (let offset: number | undefined = 0; offset !== undefined; ) {
      const count = LIMITS.differencesMax;
      const view = { view: 'changed-ranges', ino, from, offset, count, at: to } as const;
      const page: ViewAnswers['changed-ranges'] = await this.#options.view(volume, view, signal);
      ranges.push(...page.ranges);
      offset = page.next;
    }
    return ranges;
  }

  /** The directory that held a directory at the snapshot of a generation. ESTALE, ENOTDIR. */
  async parentAt(
    volume: VolumeRecord,
    ino: InodeNumber,
    generation: number,
    signal?: AbortSignal,
  ): Promise<InodeNumber> {
    const view = { view: 'parent', ino, at: generation } as const;
    return (await this.#options.view(volume, view, signal)).parent;
  }

  /** A path of each of these inodes, as of a generation or now. */
  async #paths(
    volume: VolumeRecord,
    generation: number | undefined,
    wanted: Set<InodeNumber>,
    signal: AbortSignal | undefined,
  ): Promise<Map<InodeNumber, string>> {
    const paths = new Map<InodeNumber, string>();
    const found = (ino: InodeNumber, path: string): void => {
      if (wanted.delete(ino)) paths.set(ino, path);
    };
    found(ROOT_INODE, '');
    const directories = [{ ino: ROOT_INODE, path: '' }];
    for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
      const { ino, path } = next;
      let [after, isEnd] = [0, false];
      while (!isEnd && wanted.size > 0) {
        const view = {
          view: 'read-directory',
          ino,
          after,
          count: LIMITS.directoryEntriesMax,
        } as const;
        const page = await this.#options.view(volume, at(view, generation), signal);
        for (const { name, attributes } of page.entries) {
          const here = path === '' ? name : `${path}/${name}`;
          found(attributes.ino, here);
          if (attributes.kind === 'directory')
            directories.push({ ino: attributes.ino, path: here });
        }
        after = page.entries.at(-1)?.cookie ?? after;
        isEnd = page.end || page.entries.length === 0;
      }
      if (wanted.size === 0) break;
    }
    return paths;
  }
}

function at<V extends View>(view: V, generation: number | undefined): V {
  return generation === undefined ? view : { ...view, at: generation };
}

function inosOf(
  changes: readonly InodeDifference[],
  without: InodeDifference['kind'],
): Set<InodeNumber> {
  return new Set(changes.filter(({ kind }) => kind !== without).map(({ ino }) => ino));
}

function named(all: readonly Snapshot[], volume: string, name: string): Snapshot {
  const found = all.find((snapshot) => snapshot.name === name);
  if (found !== undefined) return found;
  throw new HoldfastError(
    'NOT_FOUND',
    `volume '${volume}' has no snapshot '${name}'; see 'holdfast snapshot ls ${volume}'`,
  );
}
