/** Every limit of streams, with its unit and its reason. */
export const STREAM_LIMITS = {
  /** Bytes of a file in one frame. */
  dataBytesMax: 1024 * 1024,
  /** Bytes of any other frame: the attributes of an inode (128 KiB of values) with their names. */
  frameBytesMax: 512 * 1024,
  /** Bytes of the first frame: names and the policy of the volume. */
  headerBytesMax: 64 * 1024,
  /** Extended attributes of an inode: each has a name of a byte at least and its record. */
  xattrsMax: 16_384,
  /** Inodes and names that a stream of a change may be about: both sides keep them in memory. */
  changesMax: 1_000_000,
  /** Inodes that a receiver keeps in mind at a time; above those of any sender, so that only hostile streams meet it. */
  idsMax: 4_000_000,
  /** Entries that a sender prepares ahead of the one that is written, and bytes that it reads of each. */
  aheadEntries: 16,
  aheadBytes: 256 * 1024,
  /** Steps of a receiver under way at a time, and bytes that they hold. */
  stepsMax: 64,
  stepBytesMax: 32 * 1024 * 1024,
  /** Bytes of files after which a resumable receive notes how far it is, and waits until they are stored. */
  checkpointBytes: 8 * 1024 * 1024,
  /** Bytes of a file that a receiver gathers into one write: a whole chunk. */
  writeBytes: 4 * 1024 * 1024,
} as const;
