import {
  type Attributes,
  HoldfastError,
  LIMITS,
  type ListedEntry,
  type NodeAnswer,
  type NodeReference,
  type RequestContext,
  ROOT_INODE,
  ROOT_VOLUME,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { Volumes } from '../volumes.ts';

/** Looks at a volume's root directory. Throws ENOENT or ESTALE when the volume is gone. */
export type RootAttributes = (volume: VolumeRecord, context: RequestContext) => Promise<Attributes>;

/** The root of the namespace: a directory whose entries are the volumes. */
export const ROOT_NODE: NodeReference = { volume: ROOT_VOLUME, ino: ROOT_INODE };

/** Whether a node is the list of volumes. */
export function isRoot(node: NodeReference): boolean {
  return node.volume === ROOT_VOLUME;
}

/** Directory operations of the list of volumes, as the mount's root shows them. */
export class VolumeList {
  readonly #volumes: Volumes;
  readonly #rootAttributes: RootAttributes;

  constructor(volumes: Volumes, rootAttributes: RootAttributes) {
    this.#volumes = volumes;
    this.#rootAttributes = rootAttributes;
  }

  /** Attributes of the list itself: it has no times of its own. */
  answer(): NodeAnswer {
    const attributes: Attributes = {
      ino: ROOT_INODE,
      kind: 'directory',
      mode: 0o755,
      uid: 0,
      gid: 0,
      nlink: 2,
      size: 0,
      allocatedBytes: 0,
      rdev: 0,
      atimeNs: 0n,
      mtimeNs: 0n,
      ctimeNs: 0n,
      birthNs: 0n,
    };
    return { node: ROOT_NODE, attributes, validMs: 0 };
  }

  /** The root directory of the named volume; ENOENT. */
  async lookup(name: string, context: RequestContext): Promise<NodeAnswer> {
    const volume = await this.#volumes.byName(fileNameToText(name), context.signal);
    try {
      return await this.#rootOf(volume, context);
    } catch (error) {
      if (!isGone(error)) throw error;
      // Remembered, but removed meanwhile; perhaps made again under the same name.
      this.#volumes.forget(volume);
      return this.#rootOf(
        await this.#volumes.byName(fileNameToText(name), context.signal),
        context,
      );
    }
  }

  /** Volumes after the cookie, which is a volume's number. */
  async read(
    cookie: number,
    count: number,
    context: RequestContext,
  ): Promise<{ entries: ListedEntry[]; end: boolean }> {
    const all = [...(await this.#volumes.list(context.signal))].sort((a, b) => a.number - b.number);
    const rest = all.filter((volume) => volume.number > cookie);
    const answers = await Promise.all(
      rest.slice(0, count).map((volume) => this.#entry(volume, context)),
    );
    return { entries: answers.filter((entry) => entry !== undefined), end: rest.length <= count };
  }

  /** mkdir: a volume with the default policy and the caller as its owner. EEXIST. */
  async make(name: string, mode: number, context: RequestContext): Promise<NodeAnswer> {
    const text = fileNameToText(name);
    if ((await this.#volumes.get(text, context.signal)) !== undefined)
      throw new HoldfastError('EEXIST');
    const policy = { mode: mode & 0o7777, uid: context.uid, gid: context.gid };
    return this.#rootOf(await this.#volumes.create(text, policy), context);
  }

  /** rmdir: removes an empty volume that no engine has attached. */
  async remove(name: string): Promise<void> {
    try {
      await this.#volumes.remove(fileNameToText(name), { force: false });
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'NOT_FOUND') {
        throw new HoldfastError('ENOENT', error.message, { cause: error });
      }
      throw error;
    }
  }

  async #rootOf(volume: VolumeRecord, context: RequestContext): Promise<NodeAnswer> {
    const attributes = await this.#rootAttributes(volume, context);
    // The kernel asks each time: it could not be told of a removal while it removes.
    return { node: { volume: volume.number, ino: ROOT_INODE }, attributes, validMs: 0 };
  }

  async #entry(volume: VolumeRecord, context: RequestContext): Promise<ListedEntry | undefined> {
    try {
      const answer = await this.#rootOf(volume, context);
      return { ...answer, name: textToFileName(volume.name), cookie: volume.number };
    } catch (error) {
      if (isGone(error)) return undefined; // removed between the list and the look
      throw error;
    }
  }
}

function isGone(error: unknown): boolean {
  return error instanceof HoldfastError && (error.code === 'ENOENT' || error.code === 'ESTALE');
}

/** A name as the kernel gave it (latin1, one character a byte) as text; ENAMETOOLONG. */
function fileNameToText(name: string): string {
  if (name.length > LIMITS.volumeNameBytesMax) throw new HoldfastError('ENAMETOOLONG');
  return Buffer.from(name, 'latin1').toString('utf8');
}

function textToFileName(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
