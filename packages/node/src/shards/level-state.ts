import type { StateScanner, StateWriter } from '@holdfast/metadata';
import type { ShardId } from '@holdfast/protocol';
import { type Head, PREFIX_BYTES, prefixOf, textOf } from './level-keys.ts';
import type { LevelStore } from './level-store.ts';
import { type Pair, packPairs } from './state-stream.ts';

/** One shard's part of the store: what `apply`, views and background planners of metadata work on. */
export class LevelState implements StateWriter, StateScanner {
  readonly #store: LevelStore;
  readonly shard: ShardId;
  #head: Head;
  #prefix: string;

  private constructor(store: LevelStore, shard: ShardId, head: Head) {
    this.#store = store;
    this.shard = shard;
    this.#head = head;
    this.#prefix = prefixOf(shard, head.incarnation);
  }

  /** The state of a shard, empty when it was never here. Throws NEWER_FORMAT. */
  static async open(store: LevelStore, shard: ShardId): Promise<LevelState> {
    return new LevelState(store, shard, await store.openShard(shard));
  }

  /** Index of the last entry that is part of the state. */
  get applied(): number {
    return this.#head.applied;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#store.read(this.#prefix + textOf(key));
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#store.stage(this.#prefix + textOf(key), value);
  }

  delete(key: Uint8Array): void {
    this.#store.stage(this.#prefix + textOf(key), undefined);
  }

  /** The changes since the last call belong to entries up to `index`. */
  setApplied(index: number): void {
    this.#head = { ...this.#head, applied: index };
    this.#store.stageHead(this.shard, this.#head);
  }

  scan(
    from: Uint8Array,
    toExclusive: Uint8Array,
    limit: number,
  ): AsyncGenerator<[Uint8Array, Uint8Array]> {
    const to = this.#prefix + textOf(toExclusive);
    return withoutPrefix(this.#store.scan(this.#prefix + textOf(from), to, limit));
  }

  settled(): Promise<void> {
    return this.#store.settled();
  }

  /** Makes all up to the answer durable. */
  async flushed(): Promise<number> {
    const { applied } = this.#head;
    await this.#store.flush();
    return applied;
  }

  /** The whole state as of this call. */
  snapshot(): AsyncGenerator<Uint8Array> {
    const end = prefixOf(this.shard, this.#head.incarnation + 1);
    const pairs = this.#store.scan(this.#prefix, end, Number.MAX_SAFE_INTEGER);
    return packPairs(withoutPrefix(pairs));
  }

  /** See StateMachine.install. */
  async install(applied: number, stream: AsyncIterable<Uint8Array>): Promise<void> {
    this.#head = await this.#store.replace(this.shard, this.#head, { applied, stream });
    this.#prefix = prefixOf(this.shard, this.#head.incarnation);
    await this.#store.clearBefore(this.shard, this.#head.incarnation);
  }
}

async function* withoutPrefix(
  pairs: AsyncIterable<Pair>,
): AsyncGenerator<[Uint8Array, Uint8Array]> {
  for await (const [key, value] of pairs) yield [key.subarray(PREFIX_BYTES), value];
}
