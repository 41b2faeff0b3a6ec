/** One volume in a shard of memory, for tests of what asks shards. */
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
import { VolumeSnapshots } from '../membership/snapshots.ts';

const V = 1 as VolumeNumber;
/** The volume's record. */
export const RECORD = { number: V, name: 'v', shard: 1 as ShardId, state: 'ready' } as VolumeRecord;

/** A shard whose answers get lost, so that whoever asks asks again. */
export class LossyShard {
  readonly #state = new MemoryState();
  /** What others do after an answer was lost, before it is asked for again. */
  readonly #meanwhile: (() => void)[] = [];
  attachedTo: readonly string[] = [];
  restore: VolumeRecord['restore'];
  /** What others do at the moment before the next operation. */
  before: () => void = () => {};

  constructor() {
    const quotas = { quotaBytes: 0, quotaInodes: 0 };
    this.do({ op: 'init-volume', name: 'v', mode: 0o755, uid: 0, gid: 0, ...quotas });
  }

  get record(): VolumeRecord {
    const { attachedTo, restore } = this;
    return { ...RECORD, attachedTo, ...(restore !== undefined && { restore }) };
  }

  do(operation: Operation, timeNs = 1n, by: Partial<Command> = {}): OperationAnswer {
    const command: Command = {
      v: 1,
      session: INTERNAL_SESSION,
      sequence: 1,
      answeredBelow: 1,
      timeNs,
      volume: V,
      operation,
      ...by,
    };
    const result = apply(this.#state, command);
    if (result.ok) return result.answer;
    throw new HoldfastError(result.code as ErrorCode, result.message);
  }

  loseAnswer(meanwhile: () => void = () => {}): void {
    this.#meanwhile.push(meanwhile);
  }

  readonly snapshots = new VolumeSnapshots({
    registry: {
      view: async () => ({ volume: this.record }) as never,
    },
    run: async (_shard, _volume, operation, timeNs) => {
      this.before();
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
