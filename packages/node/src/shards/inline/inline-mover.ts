import type { ChunkReader, ChunkWriter, CopyPolicy } from '@holdfast/chunks';
import {
  filesWithInline,
  homeOf,
  type InlineRegion,
  type InodeOfShard,
  inlineFile,
  inlineRegion,
  nextInlineRegion,
  REGION_BYTES,
  type StateSource,
  treeShownBy,
  view,
} from '@holdfast/metadata';
import {
  barOf,
  type ChunkId,
  type Command,
  type CommandResult,
  HoldfastError,
  INTERNAL_SESSION,
  type Operation,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { Pace } from '../../repair/budget.ts';
import { pause } from '../../waiting.ts';
import { Rounds } from '../rounds.ts';
import { Crowding, type RegionOfFile } from './crowding.ts';
import { INLINE_LIMITS, type InlineLimits } from './limits.ts';
import type { InlineMetrics } from './metrics.ts';
import { type MoveInline, Pack, type SeenBytes } from './pack.ts';
import { assembled, type ChunkRange, chunkRangesOf, type Rewrite, rewritesOf } from './rewrite.ts';
import { Settling } from './settling.ts';

/** Where inline bytes go. */
export interface InlineDestination {
  /** Stores chunks, which are then durable on enough peers; reads those of regions in many pieces. */
  readonly chunks: Pick<ChunkWriter, 'write' | 'barred'> & Pick<ChunkReader, 'read'>;
  /** Copies that a volume wants; undefined when it is gone. Rejects in an outage. */
  readonly policyOf: (volume: VolumeNumber) => Promise<CopyPolicy | undefined>;
  readonly metrics: InlineMetrics;
  readonly limits?: Partial<InlineLimits>;
}

/** Options of {@link InlineMover}. */
export interface InlineMoverOptions extends InlineDestination {
  readonly shard: ShardId;
  readonly state: StateSource;
  /** Proposes an operation of the shard's own, in the turn of the call. Rejects as ShardHost.propose. */
  readonly propose: (operation: Operation, volume: VolumeNumber) => Promise<CommandResult>;
  /** Deletes chunks on all their replicas, as far as these can be reached. */
  readonly deleteChunks: (chunks: readonly ChunkId[]) => Promise<unknown>;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** Nanoseconds since the epoch. */
  readonly nowNs: () => bigint;
}

/** Refusals of a proposal that say that it was not and never will be applied. */
const NEVER_APPLIED: ReadonlySet<string> = new Set(['NOT_LEADER', 'OVERLOADED', 'ENOSPC']);

/**
 * Moves the bytes of small writes out of the metadata into chunks, while this peer leads the shard:
 * chunk first, then the commands that refer to it. The bytes are the same before and after, so nobody
 * needs to be told, whatever they cache; what was overwritten in between stays overwritten. One chunk
 * is under way at a time.
 */
export class InlineMover {
  readonly #options: InlineMoverOptions;
  readonly #limits: InlineLimits;
  readonly #settling: Settling;
  readonly #crowding: Crowding;
  readonly #pace: Pace;
  readonly #rounds = new Rounds((signal) => this.#round(signal));
  #pack: Pack | undefined;
  #scanAtMs = Number.NEGATIVE_INFINITY;
  #countedBytes = 0;
  #isLeading = false;

  constructor(options: InlineMoverOptions) {
    this.#options = options;
    this.#limits = { ...INLINE_LIMITS, ...options.limits };
    this.#settling = new Settling(this.#limits);
    this.#pace = new Pace(this.#limits.bytesPerSecond);
    this.#crowding = new Crowding({
      writesMax: this.#limits.crowdingWrites,
      onCrowding: () => this.#rounds.wake(),
    });
  }

  /** Begins, or goes on, with leadership. */
  start(): void {
    this.#isLeading = true;
    this.#settling.clear();
    this.#crowding.clear();
    this.#scanAtMs = Number.NEGATIVE_INFINITY;
    this.#rounds.start();
  }

  /** Ends at once: what is under way is given up, not finished. */
  async stop(): Promise<void> {
    this.#isLeading = false;
    this.#options.metrics.resigned(this.#options.shard);
    await this.#rounds.stop();
  }

  /** Keeps up with what was applied. */
  applied(command: Command, result: CommandResult): void {
    if (!this.#isLeading) return;
    const volume = treeShownBy(this.#options.state, command.volume);
    this.#crowding.applied({ ...command, volume }, result);
  }

  async #round(signal: AbortSignal): Promise<number> {
    const { now, metrics, shard } = this.#options;
    const { intervalMs, failedMs } = this.#limits;
    this.#pack = undefined;
    try {
      await this.#moveCrowded(signal);
      if (now() >= this.#scanAtMs) {
        await this.#moveSettled(signal);
        this.#scanAtMs = now() + intervalMs;
      }
      return Math.max(0, this.#scanAtMs - now());
    } catch {
      // Nothing is lost: bytes are where they were, or in their chunk. Another round goes on.
      if (!signal.aborted) metrics.failures.inc({ shard });
      return failedMs;
    }
  }

  async #moveCrowded(signal: AbortSignal): Promise<void> {
    for (const crowded of this.#crowding.take()) {
      if (signal.aborted) return;
      await this.#moveRegion(crowded, 0, signal);
    }
    await this.#flush(signal);
  }

  async #moveSettled(signal: AbortSignal): Promise<void> {
    const { state, metrics, shard } = this.#options;
    const { filesPerLook } = this.#limits;
    this.#countedBytes = 0;
    let files: InodeOfShard[] = [];
    do {
      files = await filesWithInline(state, files.at(-1), filesPerLook);
      for (const file of files) {
        if (signal.aborted) return;
        await this.#moveFile(file, signal);
      }
    } while (files.length === filesPerLook);
    await this.#flush(signal);
    if (!signal.aborted) metrics.inlineBytes.set({ shard }, this.#countedBytes);
  }

  async #moveFile(file: InodeOfShard, signal: AbortSignal): Promise<void> {
    const { state, now, nowNs } = this.#options;
    const seen = inlineFile(state, file);
    if (seen === undefined) return;
    this.#countedBytes += seen.inlineBytes;
    const settled = this.#settling.settledUpTo(file, seen, { ms: now(), ns: nowNs() });
    if (settled === 0) return;
    for (let from = 0; ; ) {
      const region = await nextInlineRegion(state, file, from);
      if (region === undefined || signal.aborted) return;
      await this.#moveRegion({ file, region }, settled, signal);
      from = region + 1;
    }
  }

  async #moveRegion(
    { file, region }: RegionOfFile,
    settled: number,
    signal: AbortSignal,
  ): Promise<void> {
    const look = inlineRegion(this.#options.state, file, region);
    if (look === undefined) return;
    // All of one look is read in its turn: afterwards other commands are applied.
    const { crowdedPieces, scatteredChunks } = this.#limits;
    const isCrowded = look.pieceCount >= crowdedPieces;
    const isScattered = look.chunkCount >= scatteredChunks;
    const chosen = this.#chosen(file, look, isCrowded ? Number.POSITIVE_INFINITY : settled);
    const isWhole = isCrowded || (isScattered && chosen.length > 0);
    const whole = isWhole ? this.#wholeRegion({ file, region }, isScattered, signal) : undefined;
    for (const seen of (await whole) ?? chosen) {
      if (this.#pack?.volume !== file.volume) await this.#flush(signal);
      this.#pack ??= new Pack(file.volume, this.#limits);
      if (this.#pack.add(seen)) continue;
      await this.#flush(signal);
      if (signal.aborted) return;
      this.#pack = new Pack(file.volume, this.#limits);
      this.#pack.add(seen);
    }
  }

  #chosen({ ino }: InodeOfShard, look: InlineRegion, settled: number): SeenBytes[] {
    const { contentVersion } = look;
    return look.inline
      .filter(({ version }) => version <= settled)
      .map((piece) => ({ ino, contentVersion, offset: piece.offset, bytes: look.read(piece) }));
  }

  /**
   * All of a region in many pieces, or of many chunks, so that they become few; undefined when a chunk
   * of it cannot be read: then only its inline bytes move.
   */
  async #wholeRegion(
    { file, region }: RegionOfFile,
    isEvery: boolean,
    signal: AbortSignal,
  ): Promise<SeenBytes[] | undefined> {
    const { state, chunks } = this.#options;
    const range = { offset: region * REGION_BYTES, length: REGION_BYTES };
    const looking = view(state, {
      session: INTERNAL_SESSION,
      volume: file.volume,
      view: { view: 'extents', ino: file.ino, ...range },
    });
    try {
      const { extents, contentVersion } = await looking;
      const seen: SeenBytes[] = [];
      const rules = { extentsMax: this.#limits.rangesPerPart, isEvery };
      for (const rewrite of rewritesOf(extents, rules)) {
        const bytes = await readRewrite(rewrite, chunks, signal);
        const beside = rewrite.extents.filter(({ source }) => source.kind !== 'inline');
        seen.push({ ino: file.ino, contentVersion, offset: rewrite.offset, bytes, beside });
      }
      return seen;
    } catch (error) {
      if (signal.aborted) throw error;
      return undefined;
    }
  }

  /** Writes the pack as a chunk, then refers to it. Throws in an outage. */
  async #flush(signal: AbortSignal): Promise<void> {
    const pack = this.#pack;
    this.#pack = undefined;
    if (pack === undefined || pack.length === 0) return;
    const { chunks, policyOf, now, metrics, shard } = this.#options;
    const cost = pack.length + pack.partCount * this.#limits.commandBytes;
    await pause(this.#pace.delayMs(cost, now()), signal);
    const policy = await unlessAborted(policyOf(homeOf(this.#options.state, pack.volume)), signal);
    if (policy === undefined || signal.aborted) return;
    const writing = chunks.write(pack.body(), policy, signal);
    const { chunk } = await unlessAborted(writing, signal).catch((error: unknown) => {
      // A chunk that comes too late is named by nothing.
      writing.then((late) => this.#giveUp(late.chunk)).catch(() => {});
      throw error;
    });
    metrics.chunks.inc({ shard });
    await this.#refer(pack, chunk);
  }

  #giveUp(chunk: ChunkId): void {
    this.#options.deleteChunks([chunk]).catch(() => {});
  }

  /** All commands are proposed in one turn: the chunk is not collected before the last of them. */
  async #refer(pack: Pack, chunk: ChunkId): Promise<void> {
    const { propose, metrics, shard, chunks } = this.#options;
    const operations = pack.operations(chunk);
    const outcomes = await Promise.allSettled(
      operations.map((operation) => propose(operation, pack.volume)),
    );
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'rejected') continue;
      const result = outcome.value.ok ? 'moved' : 'refused';
      metrics.commands.inc({ shard, result });
      if (outcome.value.ok) metrics.movedBytes.inc({ shard }, bytesOf(operations[index]));
      else chunks.barred(barOf(outcome.value.detail));
    }
    // Nothing names it and nothing ever will. Of a chunk whose fate is unknown nothing is concluded.
    if (outcomes.every(isWithoutEffect)) this.#giveUp(chunk);
    const failure = outcomes.find(({ status }) => status === 'rejected');
    if (failure?.status === 'rejected') throw failure.reason;
  }
}

async function readRewrite(
  rewrite: Rewrite,
  chunks: Pick<ChunkReader, 'read'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const read: (ChunkRange & { readonly bytes: Uint8Array })[] = [];
  for (const range of chunkRangesOf(rewrite.extents)) {
    const { chunk, from, to } = range;
    const reading = chunks.read(chunk, from, to - from, signal);
    read.push({ ...range, bytes: await unlessAborted(reading, signal) });
  }
  return assembled(rewrite, (chunk, at, length) => {
    const found = read.find(
      (range) => range.chunk === chunk && range.from <= at && at + length <= range.to,
    );
    if (found === undefined) throw new RangeError('a part of a chunk that was not read');
    return found.bytes.subarray(at - found.from, at - found.from + length);
  });
}

function bytesOf(operation: MoveInline | undefined): number {
  return operation?.extents.reduce((sum, { length }) => sum + length, 0) ?? 0;
}

function isWithoutEffect(outcome: PromiseSettledResult<CommandResult>): boolean {
  if (outcome.status === 'fulfilled') return !outcome.value.ok;
  const error: unknown = outcome.reason;
  return error instanceof HoldfastError && NEVER_APPLIED.has(error.code);
}

/** As the promise, but rejects with EINTR as soon as the signal says so. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new HoldfastError('EINTR'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
