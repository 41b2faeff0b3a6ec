export { type ApplyTarget, applyStream, makeHold } from './apply-stream.ts';
export type { Change, ChangePlan } from './change-plan.ts';
export type { Frame } from './frames.ts';
export { type SnapshotIdentity, type StreamHeader, snapshotId } from './header.ts';
export { changeFrames } from './send-change.ts';
export { fullFrames } from './send-full.ts';
export { decodeStream, encodeStream, noCounts, type StreamCounts } from './stream.ts';
