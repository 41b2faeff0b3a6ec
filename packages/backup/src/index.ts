export type { RetentionPolicy } from '@holdfast/schedule';
export {
  type BackupCounts,
  type BackupOptions,
  type BackupResult,
  backup,
  type ExtraFile,
} from './backup.ts';
export { SCRYPT_COST, type ScryptCost } from './format/key-slot.ts';
export type { Snapshot } from './format/snapshot.ts';
export type { TreeNode } from './format/tree.ts';
export { type ForgetOptions, forget, forgetSnapshots } from './repository/forget.ts';
export { type LockFacts, listLocks, removeLocks } from './repository/locks.ts';
export { type PruneOptions, type PruneResult, prune } from './repository/prune.ts';
export { type RepairOptions, type RepairResult, repair } from './repository/repair.ts';
export {
  initRepository,
  openRepository,
  type Repository,
  type RepositoryOptions,
} from './repository/repository.ts';
export {
  findSnapshot,
  findSnapshotId,
  listSnapshots,
  type ReportDamaged,
  readSnapshot,
} from './repository/snapshots.ts';
export { ownSurroundings, type Surroundings } from './repository/surroundings.ts';
export { type VerifyOptions, type VerifyResult, verify } from './repository/verify.ts';
export {
  noneRestored,
  type Overwrite,
  type RestoreCounts,
  type RestoreOptions,
  restore,
} from './restore.ts';
export { SnapshotContent } from './snapshot-content.ts';
export { type AzureOptions, AzureStore } from './store/azure.ts';
export { type AzureAccount, azureAccount } from './store/azure-account.ts';
export {
  type Bandwidth,
  type BandwidthSurroundings,
  limitBandwidth,
  limitStream,
} from './store/bandwidth.ts';
export {
  type CredentialSource,
  credentialChain,
  fixedCredentials,
  type S3Credentials,
} from './store/credentials.ts';
export { DirectoryStore } from './store/directory.ts';
export { type PlacedOptions, storeAt } from './store/place.ts';
export { RETRY_POLICY, type RetryPolicy, type RetrySurroundings } from './store/retry.ts';
export { type S3Options, S3Store } from './store/s3.ts';
export type { ByteRange, PutOptions, Store, StoredObject } from './store/store.ts';
export { PathFilter } from './tree/patterns.ts';
