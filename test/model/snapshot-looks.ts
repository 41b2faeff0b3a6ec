// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in this class
/** Compares snapshots with the model's whole copies: what they show, differ in, and give back. */
import { freedChunks } from '@holdfast/metadata';
import type { InodeDifference, InodeNumber, View, ViewAnswers } from '@holdfast/protocol';
import { expect } from 'vitest';
import type { RunOptions } from './comparison.ts';
import { Looks } from './looks.ts';
import type { ModelNode } from './model-node.ts';
import type { ModelShard } from './model-shard.ts';
import { type FrozenShard, frozen } from './model-snapshots.ts';
import type { RealShard, TestSession } from './real-shard.ts';

/** Snapshots of a state machine and of its model. */
export class SnapshotLooks {
  readonly #real: RealShard;
  readonly #model: ModelShard;
  readonly #chunks: ReadonlyMap<string, Uint8Array>;
  readonly #options: RunOptions;

  constructor(
    real: RealShard,
    model: ModelShard,
    chunks: ReadonlyMap<string, Uint8Array>,
    options: RunOptions,
  ) {
    this.#real = real;
    this.#model = model;
    this.#chunks = chunks;
    this.#options = options;
  }

  get #all(): FrozenShard[] {
    return [...this.#model.snapshots.values()];
  }

  /** One inode of one snapshot. */
  async compareOne(session: TestSession, a: number, b: number): Promise<void> {
    const snapshot = this.#all[a % Math.max(1, this.#all.length)];
    if (snapshot === undefined) return;
    const node = snapshot.nodes[b % snapshot.nodes.length] as ModelNode;
    await this.#compare(session, snapshot, [node]);
  }

  /** The list of snapshots, and all of each of them. */
  async compareAll(session: TestSession): Promise<void> {
    const all = { view: 'snapshots', after: 0, count: 1000 } as const;
    const { snapshots } = await this.#real.view(session, all);
    expect(snapshots.map(({ name }) => name)).toEqual(this.#all.map(({ answer }) => answer.name));
    for (const snapshot of this.#all) await this.#compare(session, snapshot, snapshot.nodes);
  }

  async #compare(
    session: TestSession,
    { answer, nodes }: FrozenShard,
    some: readonly ModelNode[],
  ): Promise<void> {
    const looks = this.#looks(session, answer.generation);
    for (const node of some) {
      const ino = node.ino as InodeNumber;
      const { attributes } = await looks.view({ view: 'attributes', ino });
      const wanted = this.#model.attributes(node);
      // Bytes that were cut off count until they are reclaimed.
      const { allocatedBytes } = this.#options.isFar ? attributes : wanted;
      await looks.compareNode(node, { ...wanted, allocatedBytes });
    }
    const space = await looks.view({ view: 'space' });
    expect(space.usedInodes).toBe(nodes.length);
    if (!this.#options.isFar) expect(space.usedBytes).toBe(answer.usedBytes);
  }

  #looks(session: TestSession, at: number | undefined): Looks {
    const teller = <V extends View>(wanted: V) =>
      this.#real.view(session, at === undefined ? wanted : { ...wanted, at });
    return new Looks(teller, this.#chunks);
  }

  /** Removes all snapshots, in an order that is not theirs; each gives back what it said it would. */
  async removeAll(session: TestSession): Promise<void> {
    const names = [...this.#model.snapshots.keys()].sort();
    for (const name of names) {
      const { answer } = this.#model.snapshots.get(name) as FrozenShard;
      const space = { view: 'snapshot-space', at: answer.generation } as const;
      const { chunkBytes, isSettled } = await this.#real.view(session, space);
      expect(isSettled).toBe(true);
      this.#model.apply(session.id, this.#real.nowNs, { op: 'remove-snapshot', name });
      const removed = await this.#real.execute(session, { op: 'remove-snapshot', name });
      expect(removed).toMatchObject({ ok: true });
      await this.#real.reclaimAll(this.#options.reclaimKeys);
      const all = await freedChunks(this.#real.state, 0, 100_000);
      const freed = all.filter(({ volume }) => this.#real.trees.includes(volume));
      expect(freed.reduce((bytes, { length }) => bytes + length, 0)).toBe(chunkBytes);
      const places = freed.map(({ place }) => place);
      await this.#real.internal({ op: 'chunks-collected', places });
      expect(await this.#real.problems()).toEqual([]);
      await expect(
        this.#looks(session, answer.generation).view({ view: 'space' }),
      ).rejects.toMatchObject({ code: 'ESTALE' });
      for (const rest of this.#all) await this.#compare(session, rest, rest.nodes);
    }
    expect(this.#real.historyKeys()).toBe(0);
  }

  /** What differs between a snapshot and a later one, or the present. */
  async compareChanges(session: TestSession, a: number, b: number): Promise<void> {
    const all = this.#all;
    const old = all[a % Math.max(1, all.length)];
    if (old === undefined) return;
    const later = all.slice(all.indexOf(old) + 1);
    const young = later[b % (later.length + 1)];
    const at = young?.answer.generation;
    const changes = await this.#changes(this.#looks(session, at), old, 1 + (b % 4));
    const nodes = young?.nodes ?? frozen(this.#model.nodes);
    const kinds = new Map(changes.map((change) => [change.ino as number, change]));
    expect(kinds.size).toBe(changes.length);
    const before = new Map(old.nodes.map((node) => [node.ino, node]));
    const after = new Map(nodes.map((node) => [node.ino, node]));
    for (const ino of new Set([...before.keys(), ...after.keys(), ...kinds.keys()])) {
      const pair = { before: before.get(ino), after: after.get(ino) };
      await this.#compareChange(this.#looks(session, at), old, pair, kinds.get(ino));
    }
  }

  async #changes(looks: Looks, old: FrozenShard, count: number): Promise<InodeDifference[]> {
    const found: InodeDifference[] = [];
    const from = old.answer.generation;
    for (let after: string | undefined = ''; after !== undefined; ) {
      const page: ViewAnswers['difference'] = await looks.view({
        view: 'difference',
        from,
        after,
        count,
      });
      found.push(...page.changes);
      after = page.next;
    }
    return found;
  }

  async #compareChange(
    looks: Looks,
    old: FrozenShard,
    {
      before,
      after,
    }: { readonly before?: ModelNode | undefined; readonly after?: ModelNode | undefined },
    change: InodeDifference | undefined,
  ): Promise<void> {
    if (before === undefined || after === undefined) {
      expect(change?.kind).toBe(before === undefined ? 'created' : 'removed');
      return;
    }
    if (change === undefined) {
      expect(this.#model.attributes(after)).toEqual(this.#model.attributes(before));
      expect([...after.xattrs]).toEqual([...before.xattrs]);
      expect(namesOf(after)).toEqual(namesOf(before));
    } else {
      expect(change.kind).toBe('changed');
    }
    if (after.kind !== 'file') return;
    const isChanged = change?.kind === 'changed' && change.content;
    const ino = after.ino as InodeNumber;
    const ranges = await this.#ranges(looks, old, ino);
    // What the leader moved may be named there, but is no change.
    compareOutside(before, after, isChanged ? ranges : []);
  }

  async #ranges(looks: Looks, old: FrozenShard, ino: InodeNumber): Promise<Range[]> {
    const from = old.answer.generation;
    const found: Range[] = [];
    for (let offset: number | undefined = 0; offset !== undefined; ) {
      const page: ViewAnswers['changed-ranges'] = await looks.view({
        view: 'changed-ranges',
        ino,
        from,
        offset,
        count: 2,
      });
      found.push(...page.ranges);
      offset = page.next;
    }
    return found;
  }
}

interface Range {
  readonly offset: number;
  readonly length: number;
}

function namesOf(node: ModelNode): [string, number][] {
  return [...node.entries].map(([name, entry]) => [name, entry.ino]);
}

/** Bytes outside the ranges are the same, up to the shorter end. */
function compareOutside(before: ModelNode, after: ModelNode, ranges: readonly Range[]): void {
  const size = Math.min(before.size, after.size);
  const data = [...before.content.segments(size), ...after.content.segments(size)];
  const isIn = (at: number): boolean =>
    ranges.some(({ offset, length }) => at >= offset && at < offset + length);
  let last = -1;
  for (const { offset, length } of ranges) {
    expect(offset).toBeGreaterThan(last);
    expect(offset + length).toBeLessThanOrEqual(after.size);
    last = offset + length - 1;
  }
  for (const { from, to } of data) {
    const a = before.content.read(from, to);
    const b = after.content.read(from, to);
    if (Buffer.compare(a, b) === 0) continue;
    const wrong = a.findIndex((byte, index) => byte !== b[index] && !isIn(from + index));
    expect(wrong).toBe(-1);
  }
}
