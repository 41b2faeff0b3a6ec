/** A whole snapshot as frames: each directory, then what is in it, then what the directory itself is. */
import { ROOT_INODE } from '@holdfast/protocol';
import type { SourceEntry, VolumeSource } from '@holdfast/tree';
import { ahead } from './ahead.ts';
import { contentFrames, type PreparedContent, prepareContent } from './content.ts';
import type { Frame } from './frames.ts';
import type { StreamHeader, StreamPosition } from './header.ts';
import { STREAM_LIMITS } from './limits.ts';

/** What sending tells, and may be told. */
export interface SendOptions {
  readonly signal?: AbortSignal;
  /** Told of each inode that was sent. */
  readonly onInode?: () => void;
}

/** One step of the walk: a name, and what is sent of the inode that has it. */
interface Step {
  readonly name?: Frame;
  readonly content?: {
    readonly path: string;
    readonly entry: SourceEntry;
    readonly isKept: boolean;
  };
}

async function* steps(source: VolumeSource, signal?: AbortSignal): AsyncGenerator<Step> {
  const root = await source.root();
  const below = (path: string, entry: SourceEntry) => ({
    path,
    entry,
    children: source.list(path, entry)[Symbol.asyncIterator](),
  });
  const stack = [below('', root)];
  /** Names that are still to come of files that have several. */
  const links = new Map<bigint, number>();
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    signal?.throwIfAborted();
    const next = await top.children.next();
    if (next.done === true) {
      stack.pop();
      yield { content: { path: top.path, entry: top.entry, isKept: false } };
      continue;
    }
    const entry: SourceEntry = next.value;
    const path = top.path === '' ? entry.name : `${top.path}/${entry.name}`;
    const { name, inode } = entry;
    const place = { id: Number(inode), parent: Number(top.entry.inode), name };
    const left = links.get(inode);
    if (left !== undefined) {
      if (left > 1) links.set(inode, left - 1);
      else links.delete(inode);
      yield { name: { frame: 'link', ...place, isLast: left === 1 } };
      continue;
    }
    const { kind, rdev, target } = entry;
    const make: Frame = { frame: 'make', ...place, kind, rdev, target };
    if (kind === 'directory') {
      yield { name: make };
      stack.push(below(path, entry));
      continue;
    }
    const isKept = entry.links > 1;
    if (isKept) links.set(inode, entry.links - 1);
    yield { name: make, content: { path, entry, isKept } };
  }
}

/** A step, and which of its bytes are sent. */
type Placed = Omit<Step, 'content'> & {
  readonly content?: NonNullable<Step['content']> & {
    readonly hasBytes: boolean;
    readonly from: number;
  };
};

/** The walk of a snapshot is the same each time: so its steps tell what is before a position. */
async function* placed(
  walk: AsyncIterable<Step>,
  { inodes, offset }: StreamPosition = { inodes: 0, offset: 0 },
): AsyncGenerator<Placed> {
  let finished = 0;
  for await (const { name, content } of walk) {
    const where = { hasBytes: finished >= inodes, from: finished === inodes ? offset : 0 };
    if (content !== undefined) finished += 1;
    yield { ...(name && { name }), ...(content && { content: { ...content, ...where } }) };
  }
}

/**
 * The frames of a full stream; of one that goes on (`header.resume`) without bytes that are there. Memory: a page of the directories on the way, a number for each file with
 * several names, and what is read ahead.
 */
export async function* fullFrames(
  source: VolumeSource,
  header: StreamHeader,
  { signal, onInode }: SendOptions = {},
): AsyncGenerator<Frame> {
  yield { frame: 'begin', header };
  type Prepared = Omit<Step, 'content'> & { readonly content?: PreparedContent };
  const prepare = async ({ name, content }: Placed): Promise<Prepared> => ({
    ...(name && { name }),
    ...(content && { content: await prepareContent(source, content) }),
  });
  const walk = placed(steps(source, signal), header.resume);
  for await (const { name, content } of ahead(walk, prepare, STREAM_LIMITS.aheadEntries)) {
    signal?.throwIfAborted();
    if (name !== undefined) yield name;
    if (content === undefined) continue;
    yield* contentFrames(source, content);
    if (Number(content.entry.inode) !== ROOT_INODE) onInode?.();
  }
}
