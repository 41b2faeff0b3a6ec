/** Volumes that send and receive streams, over the state machine in memory. */
import { Snapshots } from '@holdfast/client';
import type { NodeReference, VolumeRecord } from '@holdfast/protocol';
import {
  applyStream,
  type Change,
  changeFrames,
  decodeStream,
  encodeStream,
  fullFrames,
  makeHold,
  type StreamHeader,
} from '@holdfast/transfer';
import { VolumeSource } from '@holdfast/tree';
import { expect } from 'vitest';
import {
  CONTEXT,
  ROOT,
  VOLUME,
  World,
} from '../../packages/client/src/file-system/snapshots/test-world.ts';
import { seeTree } from './whole-tree.ts';

/** Of a full stream. */
export const HEADER: StreamHeader = {
  volume: 'v',
  snapshot: { name: 'there', id: 'cluster/1/1' },
  usedBytes: 0,
  usedInodes: 1,
  policy: {},
};
/** Of an incremental one. */
export const BASED: StreamHeader = { ...HEADER, base: { name: 'base', id: 'cluster/1/2' } };

/** For attributes that cannot be set: all can. */
export function fail(name: string, what: string, error: unknown): void {
  throw new Error(`${what} of ${name}`, { cause: error });
}

/** A volume with snapshots, and what can be asked of them. */
export class Sender {
  readonly world = new World();

  take(name: string): void {
    this.world.say({ op: 'create-snapshot', name });
  }

  /** Shows a snapshot again. */
  async rollBack(snapshot: string, keep: string): Promise<void> {
    this.world.say({ op: 'rollback-volume', snapshot, keep });
    await this.world.fileSystem.getAttributes(ROOT, CONTEXT); // hears of it
  }

  async at(name: string): Promise<VolumeSource> {
    return new VolumeSource(this.world.fileSystem, await this.world.past(name), { device: VOLUME });
  }

  async change(from: string, to: string): Promise<Change> {
    const { session } = this.world;
    const address = { shard: 1, number: VOLUME } as unknown as VolumeRecord;
    const snapshots = new Snapshots({
      cluster: {} as never,
      volumes: {} as never,
      view: (_, view) => session.view({ shard: 1 as never, volume: VOLUME }, view),
    });
    const all = await session.view(
      { shard: 1 as never, volume: VOLUME },
      { view: 'snapshots', after: 0, count: 1_000 },
    );
    const generationOf = (name: string): number =>
      all.snapshots.find((snapshot) => snapshot.name === name)?.generation ?? 0;
    const span = { from: generationOf(from), to: generationOf(to) };
    return {
      base: await this.at(from),
      target: await this.at(to),
      changes: () => snapshots.changes(address, span),
      changedRanges: (ino) => snapshots.changedRanges(address, ino, span),
      parentInBase: (ino) => snapshots.parentAt(address, ino, span.from),
    };
  }
}

/** A volume that takes streams. */
export class Receiver {
  readonly world = new World();

  async take(bytes: AsyncIterable<Uint8Array>, isChange: boolean): Promise<void> {
    const { fileSystem } = this.world;
    const hold = isChange ? { hold: await makeHold(fileSystem, ROOT) } : {};
    const target = { fileSystem, root: ROOT, ...hold, onAttributeProblem: fail };
    await applyStream(target, decodeStream(bytes));
  }

  source(): VolumeSource {
    return new VolumeSource(this.world.fileSystem, ROOT, { device: VOLUME });
  }
}

/** Wants a receiver to be as the sender was at a snapshot. */
export async function same(sender: Sender, name: string, receiver: Receiver): Promise<void> {
  expect(await seeTree(receiver.source())).toEqual(await seeTree(await sender.at(name)));
}

/** Sends what changed between two snapshots. */
export async function sendChange(
  sender: Sender,
  [from, to]: [string, string],
  receiver: Receiver,
): Promise<void> {
  const frames = changeFrames(await sender.change(from, to), BASED);
  await receiver.take(encodeStream(frames), true);
}

/** Sends a snapshot. */
export async function sendWhole(sender: Sender, name: string, receiver: Receiver): Promise<void> {
  const frames = fullFrames(await sender.at(name), HEADER);
  await receiver.take(encodeStream(frames), false);
}

/** The directory of a path, and the name in it. */
export async function placeOf(
  { fileSystem }: World,
  path: string,
): Promise<{ parent: NodeReference; name: string }> {
  const names = path.split('/');
  const name = names.pop() ?? '';
  let parent = ROOT;
  for (const each of names) parent = (await fileSystem.lookup(parent, each, CONTEXT)).node;
  return { parent, name };
}
