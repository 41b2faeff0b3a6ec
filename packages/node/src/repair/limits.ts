/** How eager repair is; each can be set for a peer. */
export interface RepairLimits {
  /** Milliseconds between comparisons of digests while nothing happens. */
  readonly intervalMs: number;
  /** Milliseconds after which a difference is looked at again: writes under way differ for a moment. */
  readonly confirmMs: number;
  /** Milliseconds of copying after which digests are compared anew. */
  readonly sliceMs: number;
  /** Chunks, and their bytes, that are being copied at a time. */
  readonly chunksInFlight: number;
  readonly bytesInFlight: number;
  /** Bytes copied per second; Infinity: as fast as it goes. */
  readonly bytesPerSecond: number;
}

export const REPAIR_DEFAULTS: RepairLimits = {
  intervalMs: 10_000,
  confirmMs: 1_000,
  sliceMs: 10_000,
  chunksInFlight: 8,
  bytesInFlight: 16 * 2 ** 20,
  bytesPerSecond: 100 * 2 ** 20,
};

/** Limits that are not for choosing, with the reason of each. */
export const REPAIR_LIMITS = {
  /** Partitions listed at a time: while one waits for a listing, others copy. */
  partitionsInFlight: 8,
  /** Chunks of one page of a listing. */
  pageCount: 1_000,
  /** Missing chunks gathered before they are copied. */
  batchCount: 64,
  /** Partitions of one report: its entry in the log stays small. */
  reportCount: 8_192,
  /** Milliseconds for a peer to answer with digests or a page, and with a chunk. */
  answerMsMax: 10_000,
  chunkMsMax: 30_000,
  /** Milliseconds for which a round waits for digests; later answers serve the next one. */
  askMsMax: 2_000,
  /** Milliseconds until a peer that did not answer is asked again: doubled each time, within bounds. */
  retryMsMin: 1_000,
  retryMsMax: 30_000,
  /** Milliseconds to the next round when a peer did not answer, or had an older map than ours. */
  soonMs: 1_000,
  /** Milliseconds between two rounds at least, so that several new maps make one. */
  gapMs: 200,
  /** Milliseconds between two searches for chunks that nobody names: a quarter of their age, within bounds. */
  orphanIntervalMsMin: 1_000,
  orphanIntervalMsMax: 6 * 3_600_000,
  /** Milliseconds until the first search, and the next one after one that failed, at most. */
  orphanRetryMs: 60_000,
  /** Milliseconds between two questions of a search: shards have clients. */
  orphanBatchMs: 1_000,
  /** Milliseconds of rest when the store is overloaded, and when it is full or broken. */
  overloadedMs: 500,
  fullMs: 30_000,
} as const;
