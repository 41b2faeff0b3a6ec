/** Limits of one mount, each with its unit and reason. */
export const MOUNT_LIMITS = {
  /** Requests of one volume that are worked on at once: fewer than changesMax, so that a stuck volume leaves room. */
  runningPerVolumeMax: 64,
  /** Changes worked on at once: a session keeps the answers of 128 for retries, and refuses more. */
  changesMax: 96,
  /** Requests read and waiting for their turn; then reading stops, and they wait in the kernel. */
  queuedMax: 1024,
  /** Bytes of their payload. */
  queuedBytesMax: 64 * 1024 * 1024,
  /** Requests that wait for a lock; more are refused. They must not stop reading: an unlock comes that way too. */
  lockWaitsMax: 1024,
  /** Milliseconds between looks whether the caller of an interrupted request is being killed. */
  fatalCheckMs: 250,
  /** Milliseconds that a stopping daemon gives to requests under way; the next daemon gets the rest again. */
  stopWaitMs: 5_000,
  /** Request ids answered EINTR in one turn of the event loop, on kernels without RESEND. */
  lostAnswersPerTurn: 1000,
  /** Growth of the lowest unanswered id after which it is written down, on kernels without RESEND. */
  watermarkStep: 4096,
} as const;
