export { type ConfigSources, loadConfig, type NodeConfig, nearest } from './config.ts';
export type { RunningNode } from './daemon.ts';
export type { JobStatus } from './membership/backup-jobs.ts';
export {
  type InitOptions,
  type InitResult,
  initCluster,
  type PeerOptions,
} from './membership/bootstrap.ts';
export { type JoinOptions, type JoinResult, joinCluster } from './membership/join.ts';
export { renewClient } from './membership/renewal.ts';
export type { ClusterStatus, PeerStatus, ShardStatus, StatusReason } from './membership/status.ts';
export { startNode, startVolumeDriver } from './processes.ts';
export { createLog, type EventFields, type Log } from './telemetry/log.ts';
export type { UnfilledVolume, VolumeBackend, VolumeInfo } from './volume-driver/backend.ts';
export { parseSize, parseVolumeOptions } from './volume-driver/options.ts';
export type { RunningVolumeDriver, VolumeDriverOptions } from './volume-driver/start.ts';
