export { compressed, decompressed } from './compression.ts';
export type { ArchiveWarning } from './entry.ts';
export { type ArchiveCounts, type ExportOptions, exportTree } from './export.ts';
export { ARCHIVE_FORMATS, type ArchiveFormat, formatOfName } from './format.ts';
export { type ImportLimits, type ImportOptions, importFile, importTree } from './import.ts';
