const MIB = 1024 * 1024;

/** Every limit of a backup, with its unit and its reason. */
export const BACKUP_LIMITS = {
  /** Bytes of a blob of a file: below 512 KiB nothing is cut, about 1 MiB on average. */
  chunkBytesMin: MIB / 2,
  chunkBytesAverage: MIB,
  chunkBytesMax: 4 * MIB,
  /** Bytes of a blob below which zstd saves less than its frame takes. */
  compressBytesMin: 128,
  /** Bytes after which a pack is closed; the last blob may go beyond it. restic's default. */
  packBytes: 16 * MIB,
  /** Packs on their way to the store at once: with the two open ones the memory of the writer. */
  uploadsMax: 4,
  /** Blobs between hash and pack at once: what keeps the thread pool busy with zstd. */
  blobsInFlightMax: 6,
  /** Files that are read at once; each holds up to {@link arenaBytes}. */
  filesMax: 4,
  /** Bytes of the buffer that chunks of a file are cut from. */
  arenaBytes: 12 * MIB,
  /** Bytes of one read of a source. */
  readBytes: MIB,
  /** Packs whose places are written to an index together: what a kill may leave unlisted. */
  indexPacks: 16,
  /** Blobs of one index file: restic keeps them below 8 MiB. */
  indexBlobs: 40_000,
  /** Holes shorter than this are read as zeros: they would only make small blobs. */
  holeBytesMin: 4 * MIB,
  /** Bytes that a reader fetches of a pack at once: neighbours in a pack are neighbours in the tree. */
  windowBytes: 4 * MIB,
  /** Bytes of such windows that a reader keeps. */
  windowCacheBytes: 64 * MIB,
  /** Objects outside packs that are read at once (indexes, snapshots, locks). */
  loadsMax: 8,
  /** Bytes of one tree: a directory of about ten million entries. */
  treeBytesMax: 4096 * MIB,
  /** Files with several names whose content is remembered until all names were seen. */
  linksMax: 200_000,
  /** Directories that are filled beside the walk of a restore: each holds its descriptor and those above. */
  walksMax: 8,
  /** Files that are restored at once. */
  restoresMax: 8,
} as const;
