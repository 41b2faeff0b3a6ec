/** The shards of a test: their states, and the way from one to the other. */
import {
  BaseMemory,
  type LentStateParts,
  MemoryState,
  nextCopy,
  partialShadows,
  viewWithBase,
} from '@holdfast/metadata';
import {
  INTERNAL_SESSION,
  type Operation,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';

/** One shard: its state, and what its leader remembers of others. */
export interface ShardOfTest extends LentStateParts {
  readonly state: MemoryState;
  memory: BaseMemory;
  /** Adoptions that some leader has proposed, some time. */
  readonly late: Operation[];
}

/** What all volumes of a test have in common. */
export class ShardPair {
  nowNs = 1_000n;
  sessions = 0;
  volumes = 0;
  /** Decides what the test leaves to chance; the same in each run of the same steps. */
  #dice = 1;
  readonly #shards = new Map<ShardId, ShardOfTest>();

  /** A shard, empty at first. */
  of(shard: ShardId): ShardOfTest {
    let found = this.#shards.get(shard);
    if (found === undefined) {
      found = {
        state: new MemoryState(),
        memory: new BaseMemory(),
        late: [],
        look: ({ shard: other, volume }, wanted) =>
          viewWithBase(this.of(other), { session: INTERNAL_SESSION, volume, view: wanted }),
      };
      this.#shards.set(shard, found);
    }
    return found;
  }

  get all(): readonly ShardOfTest[] {
    return [...this.#shards.values()];
  }

  /** A whole number below `count`. */
  roll(count: number): number {
    this.#dice = (this.#dice * 48_271) % 2_147_483_647;
    return this.#dice % count;
  }

  /** The background's next step in some shadow of a shard, if one is left. */
  async copyStep(shard: ShardOfTest, pick: number, count: number): Promise<Operation | undefined> {
    const shadows = await partialShadows(shard.state);
    const shadow: VolumeNumber | undefined = shadows[pick % Math.max(1, shadows.length)];
    return shadow === undefined ? undefined : nextCopy(shard, shadow, count);
  }
}
