// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in this class
/** Compares what can be seen of a model's inodes, now or at a snapshot. */
import {
  type Attributes,
  type Extent,
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type View,
  type ViewAnswers,
} from '@holdfast/protocol';
import { expect } from 'vitest';
import type { ModelNode } from './model-node.ts';

/** Answers a look at one volume. */
export type Teller = <V extends View>(wanted: V) => Promise<ViewAnswers[V['view']]>;

/** Looks at one volume at one time. */
export class Looks {
  readonly view: Teller;
  readonly #chunks: ReadonlyMap<string, Uint8Array>;

  constructor(teller: Teller, chunks: ReadonlyMap<string, Uint8Array>) {
    this.view = teller;
    this.#chunks = chunks;
  }

  /** A look, or undefined when it is refused. */
  async tryView<V extends View>(wanted: V): Promise<ViewAnswers[V['view']] | undefined> {
    try {
      return await this.view(wanted);
    } catch (error) {
      if (error instanceof HoldfastError && error.kind !== 'bug' && error.kind !== 'damage') {
        return undefined;
      }
      throw error;
    }
  }

  /** All that can be seen of an inode. */
  async compareNode(node: ModelNode, wanted: Attributes): Promise<void> {
    const ino = node.ino as InodeNumber;
    if (node.isDead) {
      const gone = this.view({ view: 'attributes', ino });
      await expect(gone).rejects.toMatchObject({ code: 'ESTALE' });
      return;
    }
    const { attributes } = await this.view({ view: 'attributes', ino });
    expect(attributes).toEqual(wanted);
    const { names } = await this.view({ view: 'xattr-names', ino });
    expect(names).toEqual([...node.xattrs.keys()]);
    for (const [name, bytes] of node.xattrs) {
      const { value } = await this.view({ view: 'xattr', ino, name });
      expect(Buffer.compare(value, bytes)).toBe(0);
    }
    if (node.kind === 'symlink') {
      const { target } = await this.view({ view: 'read-link', ino });
      expect(target).toBe(node.target);
    }
    if (node.kind === 'file') {
      await this.compareContent(node);
    }
    if (node.kind === 'directory') await this.compareDirectory(node, 2);
  }

  /** Names in listing order, and by name. */
  async compareDirectory(node: ModelNode, count: number): Promise<void> {
    const ino = node.ino as InodeNumber;
    const listed: [string, number][] = [];
    for (let after = 0, isEnd = false; !isEnd; ) {
      const page = await this.view({ view: 'read-directory', ino, after, count });
      for (const { name, cookie, attributes } of page.entries) {
        expect(cookie).toBeGreaterThan(after);
        after = cookie;
        listed.push([name, attributes.ino]);
      }
      isEnd = page.end;
    }
    expect(listed).toEqual([...node.entries].map(([name, entry]) => [name, entry.ino]));
    for (const [name, entry] of node.entries) {
      const { attributes } = await this.view({ view: 'lookup', parent: ino, name });
      expect(attributes.ino).toBe(entry.ino);
    }
    if (node.nlink > 0) {
      const { parent } = await this.view({ view: 'parent', ino });
      expect(parent).toBe(node.parent.ino);
    }
  }

  /** Data is where the model has it, and each byte of it is the same. */
  async compareContent(node: ModelNode): Promise<void> {
    const ino = node.ino as InodeNumber;
    const found: { from: number; to: number }[] = [];
    for (let at = 0; at < node.size; ) {
      const data = await this.tryView({ view: 'seek', ino, offset: at, whence: 'data' });
      if (data === undefined) break;
      const hole = { view: 'seek', ino, offset: data.offset, whence: 'hole' } as const;
      const end = (await this.view(hole)).offset;
      expect(end).toBeGreaterThan(data.offset);
      expect(data.offset).toBeGreaterThanOrEqual(at);
      at = end;
      found.push({ from: data.offset, to: at });
    }
    expect(found).toEqual(node.content.segments(node.size));
    for (const { from, to } of found) {
      for (let at = Math.max(0, from - 10); at < to; at += LIMITS.extentsViewBytesMax) {
        const end = Math.min(to + 10, at + LIMITS.extentsViewBytesMax, node.size);
        const range = { view: 'extents', ino, offset: at, length: end - at } as const;
        const { extents } = await this.view(range);
        expectGapless(extents, at, end);
        expect(Buffer.compare(this.bytesOf(extents), node.content.read(at, end))).toBe(0);
      }
    }
  }

  /** What extents show. */
  bytesOf(extents: readonly Extent[]): Uint8Array {
    return Buffer.concat(
      extents.map(({ length, source }) => {
        if (source.kind === 'zero') return new Uint8Array(length);
        if (source.kind === 'inline') return source.bytes;
        const chunk = this.#chunks.get(source.chunk) as Uint8Array;
        expect(source.chunkLength).toBe(chunk.length);
        return chunk.subarray(source.chunkOffset, source.chunkOffset + length);
      }),
    );
  }
}

function expectGapless(extents: readonly Extent[], from: number, to: number): void {
  let at = from;
  for (const { offset, length } of extents) {
    expect(offset).toBe(at);
    expect(length).toBeGreaterThan(0);
    at += length;
  }
  expect(at).toBe(to);
}
