// oxlint-disable vitest/no-standalone-expect -- the body of the test lives in a class
import { HoldfastError, type NodeReference } from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONTEXT, ROOT, World } from './test-world.ts';

const WINDOW = 2 * 2 ** 20;
const NAMES = ['a', 'b', 'c'];
const SNAPSHOTS = ['x', 'y', 'z'];
type Tree = ReadonlyMap<string, string>;

const name = fc.constantFrom(...NAMES);
const snapshot = fc.constantFrom(...SNAPSHOTS);
/** Inline and in chunks, around the borders of a window of extents. */
const size = fc.constantFrom(0, 3, 40_000, WINDOW - 1, WINDOW + 5);
const step = fc.oneof(
  fc.record({ do: fc.constant('write' as const), name, size, letter: fc.constantFrom('p', 'q') }),
  fc.record({ do: fc.constant('unlink' as const), name }),
  fc.record({ do: fc.constant('rename' as const), name, to: name }),
  fc.record({ do: fc.constant('truncate' as const), name, size }),
  fc.record({ do: fc.constant('take' as const), snapshot }),
  fc.record({ do: fc.constant('remove' as const), snapshot }),
  fc.record({ do: fc.constant('look' as const), snapshot }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 5_000, 20_000) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** A few letters of each part and the length: whole contents would take minutes to compare. */
function digest(text: string): string {
  return `${text.length} ${text.slice(0, 4)} ${text.slice(WINDOW - 3, WINDOW + 3)} ${text.slice(-3)}`;
}

/** The client beside what it should show. */
class Comparison {
  readonly #world = new World();
  readonly #present = new Map<string, string>();
  readonly #taken = new Map<string, Tree>();
  /** Files of snapshots that were seen, with their digest, by snapshot. */
  readonly #kept = new Map<string, [NodeReference, string][]>();

  async run(change: Step): Promise<void> {
    const { fileSystem } = this.#world;
    if (change.do === 'wait') this.#world.nowMs += change.ms;
    else if (change.do === 'take') this.#take(change.snapshot);
    else if (change.do === 'remove') await this.#remove(change.snapshot);
    else if (change.do === 'look') await this.#look(change.snapshot);
    else if (change.do === 'write') await this.#write(change.name, change.letter, change.size);
    else if (!this.#present.has(change.name)) return;
    else if (change.do === 'unlink') {
      await fileSystem.unlink(ROOT, change.name, CONTEXT);
      this.#present.delete(change.name);
    } else if (change.do === 'rename') {
      const to = { parent: ROOT, name: change.to };
      await fileSystem.rename({ parent: ROOT, name: change.name }, to, 'replace', CONTEXT);
      const text = this.#present.get(change.name) ?? '';
      this.#present.delete(change.name);
      this.#present.set(change.to, text);
    } else await this.#truncate(change.name, change.size);
  }

  async #write(file: string, letter: string, length: number): Promise<void> {
    const { node } = this.#present.has(file)
      ? await this.#world.fileSystem.lookup(ROOT, file, CONTEXT)
      : { node: await this.#world.file(file, Buffer.alloc(0)) };
    const text = letter.repeat(length);
    if (length > 0) await this.#world.write(node, Buffer.from(text));
    const before = this.#present.get(file) ?? '';
    this.#present.set(file, text + before.slice(length));
  }

  async #truncate(file: string, length: number): Promise<void> {
    const { node } = await this.#world.fileSystem.lookup(ROOT, file, CONTEXT);
    await this.#world.fileSystem.setAttributes(node, { size: length }, CONTEXT);
    const text = this.#present.get(file) ?? '';
    this.#present.set(file, text.slice(0, length).padEnd(length, '\0'));
  }

  #take(taken: string): void {
    if (this.#taken.has(taken)) return;
    this.#world.say({ op: 'create-snapshot', name: taken });
    this.#taken.set(taken, new Map(this.#present));
  }

  async #remove(gone: string): Promise<void> {
    if (!this.#taken.delete(gone)) return;
    this.#world.say({ op: 'remove-snapshot', name: gone });
    await expect(this.#world.past(gone)).rejects.toThrow(HoldfastError);
    // What was seen before stays what it was, or is stale: nothing else is ever shown.
    for (const [node, seen] of this.#kept.get(gone) ?? []) {
      const now = await this.#digestOf(node).catch((error: unknown) => error);
      if (now instanceof HoldfastError) expect(now.code).toBe('ESTALE');
      else expect(now).toBe(seen);
    }
    this.#kept.delete(gone);
  }

  async #look(at: string): Promise<void> {
    const tree = this.#taken.get(at);
    if (tree === undefined) return;
    const root = await this.#world.past(at);
    const { entries } = await this.#world.fileSystem.readDirectory(root, 0, 100, CONTEXT);
    expect(entries.map((entry) => entry.name).toSorted()).toEqual([...tree.keys()].toSorted());
    const kept: [NodeReference, string][] = [];
    for (const { name: file, node, attributes } of entries) {
      const seen = digest(tree.get(file) ?? '');
      expect(attributes.size).toBe(tree.get(file)?.length);
      expect(await this.#digestOf(node)).toBe(seen);
      kept.push([node, seen]);
    }
    this.#kept.set(at, kept);
  }

  async #digestOf(node: NodeReference): Promise<string> {
    return digest(await this.#world.read(node, WINDOW * 2));
  }

  async lookAtAll(): Promise<void> {
    for (const at of SNAPSHOTS) await this.#look(at);
  }
}

describe('.snapshots under random changes', () => {
  it('shows each snapshot as the volume was, whatever is changed, removed and taken again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 40 }), async (steps) => {
        const comparison = new Comparison();
        for (const each of steps) await comparison.run(each);
        await comparison.lookAtAll();
      }),
      { numRuns: 40 },
    );
  });
});
