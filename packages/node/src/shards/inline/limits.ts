/** Limits of moving inline bytes into chunks, of one shard's leader. */
export const INLINE_LIMITS = {
  /** Milliseconds for which bytes must have been left alone: a page that is written again is not moved. */
  settleMs: 10_000,
  /** Pieces of a region at which all of them move, however young: at eight times as many writers are refused. */
  crowdedPieces: 1_024,
  /**
   * Chunks of which a region shows something at which it is rewritten as one piece: so much of them as is
   * overwritten is space that nobody uses, and they stay until the last region has let go.
   */
  scatteredChunks: 64,
  /** Inline writes to a region since it was last looked at after which it is looked at without delay. */
  crowdingWrites: 512,
  /** Bytes a second that are moved, and what a command adds to them: clients come first. */
  bytesPerSecond: 32 * 2 ** 20,
  commandBytes: 4_096,
  /** Files that one look at the list of files takes. */
  filesPerLook: 256,
  /** Files written lately whose last look is remembered; others settle as a whole. */
  filesRemembered: 16_384,
  /** Files that share a chunk: it stays until the last of them is gone. */
  filesPerChunk: 16,
  /** Commands that refer to one chunk. */
  partsPerChunk: 1_024,
  /** Ranges of one move-inline. */
  rangesPerPart: 2_048,
  /** Milliseconds between looks at the list of files, and after an outage. */
  intervalMs: 2_500,
  failedMs: 10_000,
} as const;

/** The same, to be changed in tests. */
export type InlineLimits = { readonly [Name in keyof typeof INLINE_LIMITS]: number };
