export type { ChunkCluster, ChunkConnection } from './cluster.ts';
export { ChunkReader } from './read.ts';
export { BoundedWait } from './wait.ts';
export { ChunkWriter, type CopyPolicy } from './write.ts';
