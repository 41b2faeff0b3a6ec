export { type ApplyTarget, applyStream, makeHold } from './apply-stream.ts';
export type { Change, ChangePlan } from './change-plan.ts';
export type { Frame } from './frames.ts';
export {
  parseResumeToken,
  resumeToken,
  type SnapshotIdentity,
  type StreamHeader,
  type StreamPosition,
  snapshotId,
} from './header.ts';
export { STREAM_LIMITS } from './limits.ts';
export { changeFrames } from './send-change.ts';
export { fullFrames } from './send-full.ts';
export { decodeStream, encodeStream, noCounts, type StreamCounts } from './stream.ts';
