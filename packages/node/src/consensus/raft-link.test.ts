import type { NodeNumber } from '@holdfast/protocol';
import type { Message } from '@holdfast/raft';
import { describe, expect, it } from 'vitest';
import { decodeFrame, type GroupMessage } from './raft-codec.ts';
import { type LinkStream, PeerLink } from './raft-link.ts';

/** A stream whose network takes a frame when the test says so. */
class HeldStream implements LinkStream {
  readonly frames: GroupMessage[][] = [];
  isEnded = false;
  isCancelled = false;
  #done: ((error?: Error | null) => void)[] = [];

  write(frame: Buffer, done: (error?: Error | null) => void): void {
    this.frames.push(decodeFrame(frame));
    this.#done.push(done);
  }

  take(): void {
    this.#done.shift()?.();
  }

  end(): void {
    this.isEnded = true;
  }

  cancel(): void {
    this.isCancelled = true;
  }
}

function linkOf(self = 1, peer = 2) {
  const dialed: HeldStream[] = [];
  const events = { unreachable: 0, isReachable: true };
  const link = new PeerLink({
    self: self as NodeNumber,
    peer: peer as NodeNumber,
    dial: () => {
      if (!events.isReachable) return undefined;
      dialed.push(new HeldStream());
      return dialed.at(-1)!;
    },
    onUnreachable: () => {
      events.unreachable += 1;
    },
  });
  return { link, dialed, events };
}

function heartbeat(round: number): GroupMessage {
  return { group: 1, message: { kind: 'heartbeat', from: 1, to: 2, term: 1, commit: 0, round } };
}

function append(index: number, bytes: number): GroupMessage {
  const entries = [{ index, term: 1, kind: 'normal' as const, data: new Uint8Array(bytes) }];
  const message: Message = {
    kind: 'append',
    from: 1,
    to: 2,
    term: 1,
    prevIndex: index - 1,
    prevTerm: 1,
    commit: 0,
    entries,
  };
  return { group: 1, message };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const kindsOf = (frame: readonly GroupMessage[] | undefined) =>
  frame?.map(({ message }) => message.kind);

describe('link to a peer', () => {
  it('puts what is sent in one turn into one frame', async () => {
    const { link, dialed } = linkOf();
    for (let round = 1; round <= 100; round += 1) link.send(heartbeat(round));
    await turn();
    expect(dialed).toHaveLength(1);
    expect(dialed[0]!.frames.map((frame) => frame.length)).toEqual([100]);
    link.close();
  });

  it('gathers while a frame is on its way, and lets signs of life overtake entries', async () => {
    const { link, dialed } = linkOf();
    link.send(append(1, 10));
    await turn();
    const [stream] = dialed as [HeldStream];
    for (let index = 2; index <= 5; index += 1) link.send(append(index, 700_000));
    link.send(heartbeat(1));
    await turn();
    expect(stream.frames).toHaveLength(1);
    stream.take();
    await turn();
    expect(kindsOf(stream.frames[1])).toEqual(['heartbeat', 'append', 'append']);
    link.send(heartbeat(2));
    stream.take();
    await turn();
    expect(kindsOf(stream.frames[2])).toEqual(['heartbeat', 'append', 'append']);
    link.close();
  });

  it('drops what exceeds its bound, and says so', async () => {
    const { link, dialed, events } = linkOf();
    link.send(heartbeat(1));
    await turn();
    for (let index = 1; index <= 40; index += 1) link.send(append(index, 1024 * 1024));
    expect(events.unreachable).toBeGreaterThan(5);
    link.send(heartbeat(2));
    dialed[0]!.take();
    await turn();
    expect(kindsOf(dialed[0]!.frames[1])![0]).toBe('heartbeat');
    link.close();
  });

  it('reports a broken stream, forgets what waited, and dials again after a while', async () => {
    const { link, dialed, events } = linkOf();
    link.send(heartbeat(1));
    await turn();
    link.send(heartbeat(2));
    link.closed(dialed[0]!);
    expect(events.unreachable).toBe(1);
    link.send(heartbeat(3));
    expect(events.unreachable).toBe(2);
    while (dialed.length < 2) {
      link.send(heartbeat(4));
      await turn();
    }
    expect(dialed[1]!.frames).toEqual([[heartbeat(4)]]);
    link.close();
    expect(dialed[1]!.isCancelled).toBe(true);
  });

  it('keeps the stream of the lower number when both sides dialed', async () => {
    const low = linkOf(1, 2);
    const high = linkOf(2, 1);
    for (const { link } of [low, high]) {
      link.send(heartbeat(1));
      await turn();
    }
    const [atLow, atHigh] = [new HeldStream(), new HeldStream()];
    low.link.accepted(atLow);
    high.link.accepted(atHigh);
    expect([low.dialed[0]!.isEnded, atLow.isEnded]).toEqual([false, true]);
    expect([high.dialed[0]!.isEnded, atHigh.isEnded]).toEqual([true, false]);
    high.link.closed(high.dialed[0]!);
    high.link.send(heartbeat(2));
    await turn();
    expect(atHigh.frames.at(-1)).toEqual([heartbeat(2)]);
    expect(high.events.unreachable).toBe(0);
    low.link.close();
    high.link.close();
  });

  it('uses a stream that the peer opened instead of dialing', async () => {
    const { link, dialed } = linkOf(2, 1);
    const accepted = new HeldStream();
    link.accepted(accepted);
    link.send(heartbeat(1));
    await turn();
    expect(dialed).toHaveLength(0);
    expect(accepted.frames).toHaveLength(1);
    link.close();
  });

  it('takes an accepted stream into use though it could not dial before', async () => {
    const { link, events } = linkOf(2, 1);
    events.isReachable = false;
    link.send(heartbeat(1));
    await turn();
    expect(events.unreachable).toBe(1);
    const accepted = new HeldStream();
    link.accepted(accepted);
    link.send(heartbeat(2));
    await turn();
    expect(accepted.frames).toEqual([[heartbeat(2)]]);
    link.close();
  });
});
