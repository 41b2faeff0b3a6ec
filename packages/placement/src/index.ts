export { balance } from './balance.ts';
export * from './cluster-commands.ts';
export {
  checkAddress,
  checkNodeName,
  checkVolumeName,
  completePolicy,
  DEFAULT_POLICY,
  DEFAULT_SNAPSHOT_KEEP,
  REPLICAS_MAX,
} from './cluster-names.ts';
export type { ClusterRecord, RecordChange, StoredVolume } from './cluster-records.ts';
export { ClusterState } from './cluster-state.ts';
export { chooseMembers, type MembersInput, votersFor } from './shard-members.ts';
