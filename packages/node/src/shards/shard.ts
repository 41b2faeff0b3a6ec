import { apply } from '@holdfast/metadata';
import { type Command, type CommandResult, decode, type ShardId } from '@holdfast/protocol';
import type { AppliedEntry, StateMachine } from '../consensus/shard-host.ts';
import type { LevelState } from './level-state.ts';

/** Told of each command, right after it was applied here. */
export type AppliedListener = (command: Command, result: CommandResult) => void;

/** A volume shard on one replica: the metadata state machine over the shard's part of the store. */
export class VolumeShard implements StateMachine {
  readonly state: LevelState;
  readonly #listeners = new Set<AppliedListener>();

  constructor(state: LevelState) {
    this.state = state;
  }

  get shard(): ShardId {
    return this.state.shard;
  }

  get applied(): number {
    return this.state.applied;
  }

  /** Listens for applied commands; the answer ends it. A listener must not throw. */
  onApplied(listener: AppliedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  apply(entries: readonly AppliedEntry[]): readonly CommandResult[] {
    const results = entries.map(({ data }) => this.#applyOne(data));
    const last = entries.at(-1);
    if (last !== undefined) this.state.setApplied(last.index);
    return results;
  }

  #applyOne(data: Uint8Array): CommandResult {
    let command: Command;
    try {
      command = decode<Command>(data);
    } catch {
      return { ok: false, code: 'BAD_REQUEST', message: 'the command is malformed' };
    }
    const result = apply(this.state, command);
    for (const listener of this.#listeners) listener(command, result);
    return result;
  }

  settled(): Promise<void> {
    return this.state.settled();
  }

  flushed(): Promise<number> {
    return this.state.flushed();
  }

  snapshot(): AsyncIterable<Uint8Array> {
    return this.state.snapshot();
  }

  install(meta: { readonly index: number }, stream: AsyncIterable<Uint8Array>): Promise<void> {
    return this.state.install(meta.index, stream);
  }
}
