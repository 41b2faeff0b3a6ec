/** What changed between two snapshots as frames: where things are, names that go, names that come, contents. */
import { type InodeNumber, ROOT_INODE } from '@holdfast/protocol';
import { ahead } from './ahead.ts';
import { type Change, type ChangePlan, planChange } from './change-plan.ts';
import { type Content, contentFrames, prepareContent } from './content.ts';
import type { Frame } from './frames.ts';
import type { StreamHeader } from './header.ts';
import { STREAM_LIMITS } from './limits.ts';
import type { SendOptions } from './send-full.ts';

/** Told what a change is about before it is sent. */
export interface SendChangeOptions extends SendOptions {
  readonly onPlan?: (plan: ChangePlan) => void;
}

/** Where everything is in the base, directories before what is in them. */
function* locateFrames({ located }: ChangePlan): Generator<Frame> {
  const told = new Set<number>([ROOT_INODE]);
  for (const ino of located.keys()) {
    const way: Frame[] = [];
    for (let id = ino; !told.has(id); ) {
      const place = located.get(id);
      if (place === undefined) break;
      told.add(id);
      way.push({ frame: 'locate', id, ...place });
      id = place.parent;
    }
    yield* way.reverse();
  }
}

/**
 * Names that go. What gets another name is kept aside first, so that names may be swapped and directories
 * turned inside out; so is a directory that goes, until it is empty.
 */
function* lostFrames(plan: ChangePlan, held: Set<number>): Generator<Frame> {
  for (const { ino, parent, name } of plan.lost) {
    const isDirectory = plan.removed.get(ino) ?? plan.located.get(ino)?.kind === 'directory';
    if ((isDirectory || plan.gaining.has(ino)) && !held.has(ino)) {
      held.add(ino);
      yield { frame: 'hold', id: ino, parent, name };
    } else yield { frame: 'unlink', parent, name };
  }
}

/** Names that come; a directory before what is to be in it. */
function* gainedFrames(plan: ChangePlan, held: ReadonlySet<number>): Generator<Frame> {
  const { gaining, located } = plan;
  const done = new Set<number>();
  for (const ino of gaining.keys()) {
    const stack = [ino];
    for (let id = stack.at(-1); id !== undefined; id = stack.at(-1)) {
      const { entry, places } = gaining.get(id)!;
      const missing = places.find(
        ({ parent }) => gaining.has(parent) && !located.has(parent) && !done.has(parent),
      );
      if (missing !== undefined && !done.has(id)) {
        stack.push(missing.parent);
        continue;
      }
      stack.pop();
      if (done.has(id)) continue;
      done.add(id);
      for (const [index, place] of places.entries()) {
        if (index > 0 || (located.has(id) && !held.has(id)))
          yield { frame: 'link', id, ...place, isLast: false };
        else if (held.has(id)) yield { frame: 'place', id, ...place };
        else yield { frame: 'make', id, ...place, ...entry };
      }
    }
  }
}

/** Everything of which attributes or bytes are sent; the root comes last. */
function* contents({ changed }: ChangePlan): Generator<number> {
  for (const ino of changed.keys()) if (ino !== ROOT_INODE) yield ino;
  yield ROOT_INODE;
}

/**
 * The frames of an incremental stream. Cost and size are those of the change; memory: the change's inodes
 * and names, and the names of one directory. TOO_LARGE; ESTALE or NOT_FOUND when a snapshot is gone.
 */
export async function* changeFrames(
  change: Change,
  header: StreamHeader,
  { signal, onInode, onPlan }: SendChangeOptions = {},
): AsyncGenerator<Frame> {
  yield { frame: 'begin', header };
  const plan = await planChange(change, signal);
  onPlan?.(plan);
  const held = new Set<number>();
  yield* locateFrames(plan);
  yield* lostFrames(plan, held);
  yield* gainedFrames(plan, held);
  const { target } = change;
  const prepare = async (ino: number) => {
    const entry = await target.entryAt(ino as InodeNumber);
    const known = plan.changed.get(ino);
    const hasBytes = known?.content === true && entry.kind === 'file';
    const isThere = plan.located.has(ino);
    const content: Content = {
      path: ino === ROOT_INODE ? '' : `inode ${ino}`,
      entry,
      hasBytes,
      isKept: false,
      ...(hasBytes && isThere && { ranges: await change.changedRanges(ino as InodeNumber) }),
    };
    return prepareContent(target, content);
  };
  for await (const content of ahead(contents(plan), prepare, STREAM_LIMITS.aheadEntries)) {
    signal?.throwIfAborted();
    yield* contentFrames(target, content);
    onInode?.();
  }
}
