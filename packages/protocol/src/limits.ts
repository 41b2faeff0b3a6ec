/** Every limit that more than one room must know, with its unit and its reason. */
export const LIMITS = {
  /** Bytes of one name in a directory (POSIX NAME_MAX on Linux file systems). */
  nameBytesMax: 255,
  /** Bytes of a symbolic link's target (PATH_MAX - 1). */
  symlinkBytesMax: 4095,
  /** Bytes of a file: what a JavaScript number counts exactly. */
  fileBytesMax: Number.MAX_SAFE_INTEGER,
  /** Hard links of one inode (ext4 has 65,000). */
  linksMax: 65_000,
  /** Bytes of one extended attribute's value and of all of an inode (XATTR_SIZE_MAX). */
  xattrValueBytesMax: 65_536,
  xattrTotalBytesMax: 131_072,
  /** Bytes of an extended attribute's name (XATTR_NAME_MAX). */
  xattrNameBytesMax: 255,
  /** Bytes of one chunk. */
  chunkBytesMax: 4 * 1024 * 1024,
  /** Bytes that one checksum covers, in a chunk and on the wire. */
  checksumBlockBytes: 64 * 1024,
  /** Bytes of a write that ride in the log as an inline extent. */
  inlineBytesMax: 32 * 1024,
  /** Bytes of one FUSE read or write. */
  ioBytesMax: 1024 * 1024,
  /** Bytes of one framed message: a chunk and its header. */
  frameBytesMax: 5 * 1024 * 1024,
  /** Bytes of one log entry: an inline write and its names. */
  entryBytesMax: 1024 * 1024,
  /** Answers of one session kept for retries; a session has at most so many requests in flight. */
  sessionRequestsMax: 1024,
  /** Milliseconds without a sign of life after which a session is fenced. */
  sessionLeaseMs: 10_000,
  /** Milliseconds after its last confirmed sign of life when a session must stop trusting its caches. */
  sessionTrustMs: 6_000,
  /** Milliseconds between signs of life of a session. */
  sessionKeepaliveMs: 1_000,
  /** Milliseconds that an operation waits for a quorum before it fails (P4). */
  operationWaitMs: 30_000,
  /** Volumes that a cluster may ever create: 24 bits of a FUSE node id, of which snapshots take a part. */
  volumesMax: 2 ** 22 - 1,
  /** Inodes that a volume may ever create: 40 bits of a FUSE node id, one of them for `.snapshots`. */
  inodesMax: 2 ** 40 - 2,
  /** Bytes of a volume's name. */
  volumeNameBytesMax: 255,
  /** Open sessions of one shard: an unlinked file remembers each of them. */
  sessionsMax: 4096,
  /** Bytes of the path of a unix socket: sun_path of unix(7) without its final zero. */
  socketPathBytesMax: 107,
  /** Sessions that hold a delegation of one volume: a change by anyone has all of them recalled. */
  delegationHoldersMax: 64,
  /** Ended sessions that a shard remembers, so that a late command cannot revive one. */
  sessionsEndedMax: 65_536,
  /** Locks on one inode, of both families: they are one record. */
  locksPerInodeMax: 4096,
  /** Chunks that a peer asks a shard about at a time. */
  knownChunksMax: 1024,
  /** Ranges of one write-extents or move-inline. */
  writeExtentsMax: 4096,
  /** Bytes that one fallocate or write-extents covers: bounds the work of one log entry. */
  allocateBytesMax: 1024 * 1024 * 1024,
  /** Bytes that one look at extents covers: they may all be inline and must fit a frame. */
  extentsViewBytesMax: 4 * 1024 * 1024,
  /** Entries of one answer to read-directory; more are cut, not refused. */
  directoryEntriesMax: 1024,
  /** Directories between one that is moved and the root: bounds the search for a loop. */
  directoryDepthMax: 16_384,
  /** Snapshots of one volume: their generations are one record. */
  snapshotsMax: 4096,
  /** Clones of one snapshot, and how deep clones of clones go: bounds reading through them. */
  clonesMax: 256,
  cloneDepthMax: 8,
  /** States that a volume was rolled back from and that its snapshots, or what rests on them, still need. */
  treesMax: 256,
  /** Changes in one answer to 'difference'; more are cut, not refused. */
  differencesMax: 1024,
  /** Voters of one shard. */
  votersMax: 5,
} as const;
