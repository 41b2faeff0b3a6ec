export { BackupJobs } from './backup-jobs.ts';
export { certificateLife } from './cluster/certificate-watch.ts';
export { Cluster } from './cluster/cluster.ts';
export { type ClientIdentity, loadIdentity } from './cluster/identity.ts';
export { ClusterClient, type ClusterClientOptions } from './cluster-client.ts';
export { Repositories } from './repositories.ts';
export { type NamedDifference, Snapshots } from './snapshots.ts';
export { Volumes } from './volumes.ts';
