import {
  type NodeAnswer,
  type NodeReference,
  SNAPSHOT_NUMBERS_FROM,
  type VolumeNumber,
} from '@holdfast/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { OpenHandles } from './handles.ts';
import { Invalidator } from './invalidate.ts';
import { VALID_MS_MAX } from './kernel/encode.ts';
import { encodeInvalidateEntry, encodeInvalidateInode } from './kernel/notify.ts';

const node = (ino: number, volume = 1) => ({ volume, ino }) as unknown as NodeReference;
const answer = (ino: number, validMs: number): NodeAnswer => ({
  node: node(ino),
  attributes: {} as never,
  validMs,
});
const volume = { what: 'volume', volume: 1 as never } as const;

describe('Invalidator', () => {
  let sent: string[];
  let handles: OpenHandles;
  let nowMs: number;
  let isBelieved: boolean;
  const make = (isRestart = false) =>
    new Invalidator({
      channel: {
        notify: async (message) => {
          sent.push(message.toString('hex'));
        },
        notifyNow: (message) => sent.push(`now ${message.toString('hex')}`) > 0,
      },
      isBelieved: () => isBelieved,
      handles,
      isRestart,
      nowMs: () => nowMs,
    });
  const hex = (messages: readonly Buffer[]) => messages.map((message) => message.toString('hex'));

  beforeEach(() => {
    sent = [];
    handles = new OpenHandles();
    nowMs = 1000;
    isBelieved = true;
  });

  it('drops one inode or one name', async () => {
    const invalidator = make();
    await invalidator.invalidate({ what: 'inode', node: node(5) });
    await invalidator.invalidate({ what: 'entry', parent: node(1), name: 'n' });
    expect(sent).toEqual(
      hex([encodeInvalidateInode(node(5), 0), encodeInvalidateEntry(node(1), 'n')]),
    );
  });

  it('drops the names between which an entry moved', async () => {
    const invalidator = make();
    invalidator.namesMoving({ parent: node(1), name: 'f' }, { parent: node(2), name: 'g' });
    await invalidator.invalidate(volume);
    expect(sent).toEqual(
      hex([encodeInvalidateEntry(node(1), 'f'), encodeInvalidateEntry(node(2), 'g')]),
    );
  });

  it('drops of a volume what was answered with a time and what is open', async () => {
    const invalidator = make();
    invalidator.nameAnswered(node(1), 'a', answer(5, 1000));
    invalidator.attributesAnswered(answer(6, 0));
    invalidator.nameAnswered(node(1), 'b', answer(7, 0));
    handles.opened(2, { node: node(8), write: true });
    handles.opened(4, { node: node(9, 2), write: true });
    await invalidator.invalidate(volume);
    expect(sent).toEqual(
      hex([
        encodeInvalidateEntry(node(1), 'a'),
        encodeInvalidateInode(node(5), 0),
        encodeInvalidateInode(node(8), 0),
      ]),
    );
    sent = [];
    await invalidator.invalidate(volume);
    expect(sent).toEqual(hex([encodeInvalidateInode(node(8), 0)]));
  });

  it('passes over what is in snapshots, for it never changes', async () => {
    const invalidator = make();
    const snapshot = SNAPSHOT_NUMBERS_FROM as VolumeNumber;
    const inside = { ...answer(5, 1000), node: node(5, snapshot) };
    invalidator.attributesAnswered(inside);
    invalidator.nameAnswered(node(1, snapshot), 'a', inside);
    await invalidator.invalidate({ what: 'volume', volume: snapshot });
    expect(sent).toEqual([]);
  });

  it('keeps in mind of which inodes the kernel has ACLs, for these end by no time', async () => {
    const invalidator = make();
    invalidator.attributesAnswered(answer(6, VALID_MS_MAX));
    for (const ino of [5, 6, 5]) await invalidator.askingAcl(node(ino), async () => 'acl');
    await invalidator.askingAcl(node(7, 2), async () => 'acl');
    expect(sent).toEqual([]);
    await invalidator.invalidate(volume);
    const dropped = [encodeInvalidateInode(node(6), 0), encodeInvalidateInode(node(5), -1)];
    expect(sent).toEqual(hex(dropped));
    await invalidator.invalidate(volume);
    expect(sent).toHaveLength(2);
  });

  it('has the kernel keep no ACL that is not believed, or was not all the while', async () => {
    const invalidator = make();
    const told = [`now ${hex([encodeInvalidateInode(node(5), -1)]).join('')}`];
    isBelieved = false;
    await invalidator.askingAcl(node(5), async () => 'acl');
    expect(sent).toEqual(told);
    const acquired = invalidator.askingAcl(node(5), async () => {
      isBelieved = true;
    });
    await acquired;
    expect(sent).toEqual([...told, ...told]);
    const lost = invalidator.askingAcl(node(5), async () => {
      isBelieved = false;
      throw new Error('ENODATA');
    });
    await expect(lost).rejects.toThrow('ENODATA');
    expect(sent).toEqual([...told, ...told, ...told]);
    await invalidator.invalidate(volume);
    expect(sent).toHaveLength(3);
  });

  it('drops an ACL that is recalled while it is asked for', async () => {
    const invalidator = make();
    await invalidator.askingAcl(node(5), async () => invalidator.invalidate(volume));
    expect(sent).toEqual(hex([encodeInvalidateInode(node(5), -1)]));
  });

  it('remembers an answer as long as it may be valid, and no longer than twice that', async () => {
    const invalidator = make();
    invalidator.attributesAnswered(answer(5, VALID_MS_MAX));
    nowMs += VALID_MS_MAX + 1;
    invalidator.attributesAnswered(answer(6, VALID_MS_MAX));
    nowMs += VALID_MS_MAX + 1;
    invalidator.attributesAnswered(answer(7, VALID_MS_MAX));
    await invalidator.invalidate(volume);
    expect(sent).toEqual(hex([6, 7].map((ino) => encodeInvalidateInode(node(ino), 0))));
  });

  it('waits out what an earlier daemon may have answered', async () => {
    const invalidator = make(true);
    nowMs += VALID_MS_MAX - 20;
    const started = performance.now();
    await invalidator.invalidate(volume);
    expect(performance.now() - started).toBeGreaterThanOrEqual(19);
    nowMs += 20;
    await invalidator.invalidate(volume);
  });
});
