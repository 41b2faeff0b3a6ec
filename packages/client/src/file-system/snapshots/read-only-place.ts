import {
  type FileSystem,
  HoldfastError,
  type NodeReference,
  type RequestContext,
} from '@holdfast/protocol';

/** A part of the namespace that is only looked at. */
export interface ReadOnlyPlace
  extends Pick<
    FileSystem,
    | 'lookup'
    | 'getAttributes'
    | 'readDirectory'
    | 'parentOf'
    | 'readLink'
    | 'read'
    | 'seek'
    | 'getXattr'
    | 'listXattrs'
    | 'space'
  > {
  /** Resolves when a file can be read. ESTALE when it is gone. */
  confirm(node: NodeReference, context: RequestContext): Promise<void>;
}

/** The answer to every change of a snapshot, and of the list of snapshots. */
export function readOnly(): HoldfastError {
  return new HoldfastError('EROFS', 'snapshots are read-only');
}
