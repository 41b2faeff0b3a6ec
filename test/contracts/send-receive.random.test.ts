import { HoldfastError, type NodeReference } from '@holdfast/protocol';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { CONTEXT, type World } from '../../packages/client/src/file-system/snapshots/test-world.ts';
import { placeOf, Receiver, Sender, same, sendChange, sendWhole } from '../trees/sent-volumes.ts';

const MIB = 2 ** 20;
/** Of the property; more are asked for with HOLDFAST_RUNS. */
const RUNS = Number(process.env['HOLDFAST_RUNS'] ?? 25);

/** Names that meet often, in directories of three levels. */
const place = fc.constantFrom(
  'a',
  'b',
  'c',
  'a/a',
  'a/b',
  'b/a',
  'b/b',
  'c/a',
  'a/a/a',
  'a/b/a',
  'b/a/b',
);
const letter = fc.constantFrom('p', 'q', 'r');
const at = fc.constantFrom(0, 5, 40_000, MIB - 1, 3 * MIB);
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('mkdir' as const), place }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('create' as const), place }) },
  fc.record({ do: fc.constant('special' as const), place, device: fc.integer({ min: 1, max: 9 }) }),
  fc.record({ do: fc.constant('symlink' as const), place, letter }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant('write' as const), place, letter, at }) },
  fc.record({ do: fc.constant('truncate' as const), place, at }),
  fc.record({ do: fc.constant('punch' as const), place, at }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant('rename' as const), place, to: place }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('swap' as const), place, to: place }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('link' as const), place, to: place }) },
  fc.record({ do: fc.constant('unlink' as const), place }),
  fc.record({ do: fc.constant('rmdir' as const), place }),
  fc.record({
    do: fc.constant('chmod' as const),
    place,
    mode: fc.integer({ min: 0, max: 0o7777 }),
  }),
  fc.record({ do: fc.constant('touch' as const), place, ns: fc.bigInt({ min: -9n, max: 9n }) }),
  fc.record({ do: fc.constant('mark' as const), place, letter }),
  fc.record({ do: fc.constant('unmark' as const), place, letter }),
  fc.record({ do: fc.constant('rollback' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Random steps on a volume; those that the file system refuses do nothing. */
class RandomUse {
  readonly #sender: Sender;
  #rollbacks = 0;

  constructor(sender: Sender) {
    this.#sender = sender;
  }

  async run(change: Step, last: string): Promise<void> {
    try {
      if (change.do === 'rollback') await this.#rollBack(last);
      else await this.#act(change);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  async #rollBack(last: string): Promise<void> {
    if (this.#rollbacks === 2) return;
    this.#rollbacks += 1;
    await this.#sender.rollBack(last, `kept-${this.#rollbacks}`);
  }

  async #act(change: Exclude<Step, { do: 'rollback' }>): Promise<void> {
    const { fileSystem } = this.#sender.world;
    const here = await placeOf(this.#sender.world, change.place);
    const make = { mode: 0o644, rdev: 0, target: '', exclusive: true };
    switch (change.do) {
      case 'mkdir':
        return this.#made(here, { ...make, kind: 'directory' });
      case 'create':
        return this.#made(here, { ...make, kind: 'file' });
      case 'special':
        return this.#made(here, { ...make, kind: 'char', rdev: change.device });
      case 'symlink':
        return this.#made(here, { ...make, kind: 'symlink', target: change.letter });
      case 'rename':
      case 'swap': {
        const flag = change.do === 'swap' ? 'exchange' : 'replace';
        return fileSystem.rename(here, await placeOf(this.#sender.world, change.to), flag, CONTEXT);
      }
      case 'unlink':
        return fileSystem.unlink(here.parent, here.name, CONTEXT);
      case 'rmdir':
        return fileSystem.removeDirectory(here.parent, here.name, CONTEXT);
      default:
    }
    const { node } = await fileSystem.lookup(here.parent, here.name, CONTEXT);
    if (change.do === 'link') {
      const to = await placeOf(this.#sender.world, change.to);
      await fileSystem.link(node, to.parent, to.name, CONTEXT);
    } else await this.#change(node, change);
  }

  async #change(node: NodeReference, change: Step): Promise<void> {
    const { fileSystem } = this.#sender.world;
    if (change.do === 'write') {
      const bytes = Buffer.alloc(change.letter === 'p' ? 70_000 : 9, change.letter);
      const options = { append: false, killPrivileges: false };
      await fileSystem.write(node, change.at, bytes, options, CONTEXT);
    } else if (change.do === 'truncate')
      await fileSystem.setAttributes(node, { size: change.at }, CONTEXT);
    else if (change.do === 'punch') {
      const hole = { mode: 'punch', keepSize: true, offset: change.at, length: 50_000 } as const;
      await fileSystem.allocate(node, hole, CONTEXT);
    } else if (change.do === 'chmod')
      await fileSystem.setAttributes(node, { mode: change.mode }, CONTEXT);
    else if (change.do === 'touch')
      await fileSystem.setAttributes(node, { mtime: change.ns, atime: 3n }, CONTEXT);
    else if (change.do === 'mark')
      await fileSystem.setXattr(
        node,
        `user.${change.letter}`,
        Buffer.from('x'),
        { mode: 'set' },
        CONTEXT,
      );
    else if (change.do === 'unmark')
      await fileSystem.removeXattr(node, `user.${change.letter}`, CONTEXT);
  }

  async #made(
    { parent, name }: { parent: NodeReference; name: string },
    options: Parameters<World['fileSystem']['create']>[2],
  ): Promise<void> {
    await this.#sender.world.fileSystem.create(parent, name, options, CONTEXT);
  }
}

describe('what changed since a snapshot that was sent', () => {
  it(
    'makes the receiver equal, whatever was done in between',
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(step, { minLength: 5, maxLength: 25 }), { minLength: 3, maxLength: 4 }),
          async (rounds) => {
            const [sender, receiver] = [new Sender(), new Receiver()];
            const use = new RandomUse(sender);
            let last = 'first';
            sender.take(last);
            await sendWhole(sender, last, receiver);
            for (const [round, steps] of rounds.entries()) {
              for (const each of steps) await use.run(each, last);
              const next = `round-${round}`;
              sender.take(next);
              await sendChange(sender, [last, next], receiver);
              await same(sender, next, receiver);
              last = next;
            }
          },
        ),
        { numRuns: RUNS },
      );
    },
    120_000 + RUNS * 2_000,
  );
});
