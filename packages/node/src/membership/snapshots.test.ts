import { apply, MemoryState, view } from '@holdfast/metadata';
import {
  type Command,
  type ErrorCode,
  HoldfastError,
  INTERNAL_SESSION,
  type Operation,
  type OperationAnswer,
  type ShardId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { VolumeSnapshots } from './snapshots.ts';

const V = 1 as VolumeNumber;
const RECORD = { number: V, name: 'v', shard: 1 as ShardId, state: 'ready' } as VolumeRecord;

/** One volume in a shard whose answers get lost, so that whoever asks asks again. */
class LossyShard {
  readonly #state = new MemoryState();
  /** What others do after an answer was lost, before it is asked for again. */
  readonly #meanwhile: (() => void)[] = [];

  constructor() {
    const quotas = { quotaBytes: 0, quotaInodes: 0 };
    this.do({ op: 'init-volume', name: 'v', mode: 0o755, uid: 0, gid: 0, ...quotas });
  }

  do(operation: Operation, timeNs = 1n): OperationAnswer {
    const command: Command = {
      v: 1,
      session: INTERNAL_SESSION,
      sequence: 1,
      answeredBelow: 1,
      timeNs,
      volume: V,
      operation,
    };
    const result = apply(this.#state, command);
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code as ErrorCode, result.message);
  }

  loseAnswer(meanwhile: () => void = () => {}): void {
    this.#meanwhile.push(meanwhile);
  }

  readonly snapshots = new VolumeSnapshots({
    registry: { view: async () => ({ volume: RECORD }) as never },
    run: async (_shard, _volume, operation, timeNs) => {
      for (let lost = this.#meanwhile.shift(); lost !== undefined; ) {
        this.do(operation, timeNs);
        lost();
        lost = this.#meanwhile.shift();
      }
      return this.do(operation, timeNs);
    },
    look: async <W extends View>(_shard: ShardId, volume: VolumeNumber, wanted: W) =>
      (await view(this.#state, {
        session: INTERNAL_SESSION,
        volume,
        view: wanted,
      })) as ViewAnswers[W['view']],
  });
}

describe('snapshots of a shard whose answers get lost', () => {
  it('are taken once', async () => {
    const shard = new LossyShard();
    shard.loseAnswer();
    const made = await shard.snapshots.create('v', 's');
    expect(await shard.snapshots.list('v')).toEqual([made]);
    await expect(shard.snapshots.create('v', 's')).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('are those of the request, not of someone else for the same name', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 's', 5n);
    expect(await shard.snapshots.create('v', 's', 5n)).toMatchObject({ generation: 1 });
    await expect(shard.snapshots.create('v', 's', 6n)).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('are removed once, and a younger one of the same name stays', async () => {
    const shard = new LossyShard();
    await shard.snapshots.create('v', 's');
    shard.loseAnswer(() => shard.do({ op: 'create-snapshot', name: 's' }));
    expect(await shard.snapshots.remove('v', 's')).toMatchObject({ generation: 1 });
    expect(await shard.snapshots.list('v')).toMatchObject([{ name: 's', generation: 2 }]);
    shard.loseAnswer();
    await shard.snapshots.remove('v', 's');
    await expect(shard.snapshots.remove('v', 's')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
