export { ChangedSource, type TreeChange } from './changed-source.ts';
export type { CopyPlace, CopyTarget } from './copy-place.ts';
export { type CopyCounts, copyEntry } from './copy-tree.ts';
export { DirectoryCopyPlace } from './directory-copy-place.ts';
export { DirectorySink } from './directory-sink.ts';
export { DirectorySource } from './directory-source.ts';
export { DrySink } from './dry-sink.ts';
export { type ByteRange, isSafeName, type TreeEntry, type Xattr } from './entry.ts';
export type {
  AttributeProblem,
  SinkDirectory,
  SinkEntry,
  SinkFile,
  TreeSink,
} from './sink.ts';
export type { SourceEntry, SourceFile, TreeSource } from './source.ts';
export { StageFiles } from './stage-files.ts';
export { isReservedName } from './stage-names.ts';
export { VolumeCopyPlace } from './volume-copy-place.ts';
export { isBare, VolumeDoor } from './volume-door.ts';
export { VolumeSink, type VolumeSinkOptions } from './volume-sink.ts';
export { VolumeSource } from './volume-source.ts';
export { isBeingFilled, VolumeStage } from './volume-stage.ts';
