import { barOf, type ChunkId, type CommandResult, type Operation } from '@holdfast/protocol';
import type { RealShard, TestSession } from './real-shard.ts';
import type { Interpreter } from './steps.ts';

/** What is between a program that writes chunks and the shard that is told of them. */
export interface Courier {
  /** The chunks of a command are stored, before it comes. */
  readonly put: (chunks: readonly ChunkId[]) => Promise<void>;
  /** Whether who is told that its chunks are barred writes their bytes into new ones. */
  readonly goesOn: () => boolean;
}

/** A command as it came at last, and what became of it. */
export interface Sent {
  readonly operation: Operation;
  readonly result: CommandResult;
}

/** Sends a command behind its chunks, anew as often as these are barred; undefined: it was given up. */
export async function sendWithChunks(
  {
    real,
    interpreter,
    courier,
  }: {
    readonly real: RealShard;
    readonly interpreter: Interpreter;
    readonly courier: Courier | undefined;
  },
  session: TestSession,
  operation: Operation,
): Promise<Sent | undefined> {
  for (let now = operation; ; ) {
    await courier?.put(chunksOf(now));
    const result = await real.execute(session, now);
    const barred = result.ok ? 0 : barOf(result.detail);
    if (barred === 0) return { operation: now, result };
    if (courier?.goesOn() !== true) return undefined;
    const known = real.knownChunks();
    now = interpreter.writtenAnew(now, barred, (chunk) => known.has(chunk));
  }
}

function chunksOf(operation: Operation): ChunkId[] {
  if (!('extents' in operation)) return [];
  return operation.extents.flatMap(({ source }) => (source.kind === 'chunk' ? [source.chunk] : []));
}
