export { apply } from './apply.ts';
export {
  type FreedChunk,
  filesWithInline,
  freedChunks,
  type InodeOfShard,
  type OpenSession,
  openSessions,
  orphansToAnnounce,
  planReclaim,
} from './background.ts';
export { check } from './check.ts';
export { REGION_BYTES } from './content/content-editor.ts';
export {
  type InlineFile,
  type InlinePiece,
  type InlineRegion,
  inlineFile,
  inlineRegion,
  nextInlineRegion,
} from './content/inline-look.ts';
export {
  BaseMemory,
  type BaseOrigin,
  type LentStateParts,
  type LookAtBase,
  nextCopy,
  partialShadows,
  planAdoption,
  viewWithBase,
} from './lent-state.ts';
export { MemoryState } from './memory-state.ts';
export type { StateReader, StateScanner, StateSource, StateWriter } from './state.ts';
export { homeOf, treeShownBy } from './trees.ts';
export { type ViewRequest, view } from './views.ts';
