/** Every limit of reading and writing archives, with its unit and its reason. */
export const ARCHIVE_LIMITS = {
  /** Bytes of a path in an archive that is read: what no path of a file system reaches. */
  pathBytesMax: 65_536,
  /** Components of a path in an archive that is read: each is an open directory while it is filled. */
  depthMax: 4_096,
  /** Bytes of one PAX header: names, targets, 128 KiB of attributes and a list of holes. */
  paxBytesMax: 16 * 1024 * 1024,
  /** Lines of an ACL's text that are looked at: twice what an ACL may have. */
  aclLinesMax: 1_024,
  /** Stretches of data of one sparse file, read and written; more are written with small holes filled. */
  stretchesMax: 262_144,
  /** Shortest hole that is kept, bytes; doubled until a file's stretches fit. */
  holeBytesMin: 4_096,
  /** Bytes of one read from a source. */
  readBytes: 1024 * 1024,
  /** Bytes that are gathered into one write to a sink: a whole chunk. */
  writeBytes: 4 * 1024 * 1024,
  /** Entries that a walk prepares ahead of the one that is written, and bytes that it reads of each. */
  aheadEntries: 8,
  aheadBytes: 256 * 1024,
  /** Files up to this size are written to a sink beside each other. */
  smallFileBytes: 256 * 1024,
  /** Steps of an import under way at a time. */
  stepsMax: 16,
  /** Bytes after which a limit of the ratio of compression is applied: small archives may well be regular. */
  ratioBytesMin: 16 * 1024 * 1024,
  /**
   * Unpacked bytes for each byte of a tar archive when nobody gives a limit, and bytes after which that is
   * applied: only zeros, or what somebody means as a bomb, is so much smaller when it is packed.
   */
  ratioUnasked: 1_000,
  ratioUnaskedBytesMin: 256 * 1024 * 1024,
  /** Zeros in a row that become a hole where the archive has none itself (zip). */
  zeroBytes: 65_536,
  /** Bytes of a symbolic link's target in a zip archive. */
  targetBytesMax: 4_095,
} as const;
