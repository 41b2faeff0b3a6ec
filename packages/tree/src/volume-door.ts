/** How entries of a volume are given their attributes. */
import {
  type Attributes,
  type FileSystem,
  HoldfastError,
  type NodeAnswer,
  type NodeReference,
  type RequestContext,
} from '@holdfast/protocol';
import type { AttributeProblem, SinkEntry } from './sink.ts';

/** What is refused for one attribute and leaves the entry good. */
const ATTRIBUTE_REFUSALS: ReadonlySet<string> = new Set([
  'EPERM',
  'EACCES',
  'EINVAL',
  'ERANGE',
  'E2BIG',
  'ENOTSUP',
  'ENAMETOOLONG',
]);

/** The code of an error of ours, else ''. */
export function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : '';
}

/** Whether what was made just now took over no ACL of its directory. */
export function isBare({ acls = 0 }: Attributes): boolean {
  return acls === 0;
}

/** Nanoseconds that 64 bits hold: 1677 to 2262. */
function withinRange(ns: bigint): bigint {
  const [least, most] = [-(2n ** 63n), 2n ** 63n - 1n];
  if (ns < least) return least;
  return ns > most ? most : ns;
}

/** The file system as one writer sees it, as root. */
export class VolumeDoor {
  readonly fileSystem: FileSystem;
  readonly problem: AttributeProblem;
  readonly #signal: AbortSignal | undefined;

  constructor(
    fileSystem: FileSystem,
    options: { problem: AttributeProblem; signal?: AbortSignal | undefined },
  ) {
    this.fileSystem = fileSystem;
    this.problem = options.problem;
    this.#signal = options.signal;
  }

  context(uid = 0, gid = 0): RequestContext {
    const asked = { uid, gid, pid: 0, requestId: 0 };
    return this.#signal === undefined ? asked : { ...asked, signal: this.#signal };
  }

  /** What has a name, if anything has. */
  async look(parent: NodeReference, name: string): Promise<NodeAnswer | undefined> {
    try {
      return await this.fileSystem.lookup(parent, name, this.context());
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Extended attributes that the entry does not have. */
  async #dropXattrs(node: NodeReference, { xattrs }: SinkEntry): Promise<void> {
    const wanted = new Set(xattrs.map(({ name }) => name));
    for (const name of await this.fileSystem.listXattrs(node, this.context())) {
      if (wanted.has(name)) continue;
      await this.fileSystem.removeXattr(node, name, this.context()).catch((error: unknown) => {
        if (codeOf(error) !== 'ENODATA') throw error;
      });
    }
  }

  /** Attributes in one change; xattrs before it, so that the times stay. `isBare`: it has none yet. */
  async finish(
    node: NodeReference,
    entry: SinkEntry,
    { size, isBare = true }: { readonly size?: number; readonly isBare?: boolean } = {},
  ): Promise<void> {
    if (!isBare) await this.#dropXattrs(node, entry);
    for (const { name, value } of entry.xattrs) {
      try {
        await this.fileSystem.setXattr(node, name, value, { mode: 'set' }, this.context());
      } catch (error) {
        if (!ATTRIBUTE_REFUSALS.has(codeOf(error))) throw error;
        this.problem(entry.name, `xattr ${name}`, error);
      }
    }
    const { mode, uid, gid } = entry;
    const [atime, mtime] = [withinRange(entry.atimeNs), withinRange(entry.mtimeNs)];
    if (atime !== entry.atimeNs || mtime !== entry.mtimeNs)
      this.problem(
        entry.name,
        'times',
        new HoldfastError('ERANGE', 'times are kept from 1677 to 2262'),
      );
    const change = { mode, uid, gid, atime, mtime, ...(size === undefined ? {} : { size }) };
    await this.fileSystem.setAttributes(node, change, this.context());
  }
}
