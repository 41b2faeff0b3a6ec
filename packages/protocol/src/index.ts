export type { Attributes, FileKind } from './attributes.ts';
export * from './cluster.ts';
export { decode, encode } from './codec.ts';
export * from './errors.ts';
export * from './file-system.ts';
export * from './ids.ts';
export { LIMITS } from './limits.ts';
export * from './operations.ts';
export * from './snapshot-names.ts';
