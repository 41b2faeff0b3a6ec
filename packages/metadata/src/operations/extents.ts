import { HoldfastError, LIMITS, type Operation, type OperationAnswer } from '@holdfast/protocol';
import { ContentEditor } from '../content/content-editor.ts';
import { SeenExtents } from '../content/seen-extents.ts';
import type { Context } from '../context.ts';
import { attributesOf, changeInode, fileOf, type Inode, withoutPrivileges } from '../inodes.ts';
import type { InodeRecord } from '../records.ts';

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

function checkEnd(end: number): void {
  if (end > LIMITS.fileBytesMax) throw new HoldfastError('EFBIG');
}

/** The inode after a change of its content: new version, mtime and ctime. */
function finished(
  context: Context,
  editor: ContentEditor,
  { ino, record }: Inode,
  change: Partial<Pick<InodeRecord, 'size' | 'mode'>>,
): OperationAnswer {
  const { nowNs } = context;
  const inode = changeInode(context, ino, {
    ...editor.finish(),
    contentVersion: editor.version,
    mtimeNs: nowNs,
    ctimeNs: nowNs,
    size: change.size ?? record.size,
    mode: change.mode ?? record.mode,
  });
  return { attributes: attributesOf(inode) };
}

/** write(2), with the bytes where the extents say. */
export function writeExtents(context: Context, operation: Of<'write-extents'>): OperationAnswer {
  const inode = fileOf(context, operation.ino);
  const { record } = inode;
  if (operation.extents.length === 0) return { attributes: attributesOf(inode) };
  const base = operation.append ? record.size : 0;
  const editor = new ContentEditor(context, operation.ino, record);
  let size = record.size;
  let bytes = 0;
  for (const extent of operation.extents) {
    const offset = base + extent.offset;
    checkEnd(offset + extent.length);
    bytes += extent.length;
    if (bytes > LIMITS.allocateBytesMax) {
      throw new HoldfastError('EINVAL', 'the ranges of one command are at most 1 GiB');
    }
    editor.place({ ...extent, offset });
    size = Math.max(size, offset + extent.length);
  }
  const mode = operation.killPrivileges ? withoutPrivileges(record) : record.mode;
  const answer = finished(context, editor, inode, { size, mode });
  return operation.append ? { ...answer, offset: base } : answer;
}

/** fallocate(2). */
export function fallocate(context: Context, operation: Of<'fallocate'>): OperationAnswer {
  const { ino, mode, keepSize, offset, length } = operation;
  const inode = fileOf(context, ino);
  if (length === 0) throw new HoldfastError('EINVAL', 'the length is at least 1');
  checkEnd(offset + length);
  if (mode !== 'punch' && length > LIMITS.allocateBytesMax) {
    throw new HoldfastError('EINVAL', 'one call allocates at most 1 GiB');
  }
  const editor = new ContentEditor(context, ino, inode.record);
  if (mode === 'allocate') editor.allocate(offset, length);
  else if (mode === 'punch') editor.clear(offset, offset + length);
  else editor.place({ offset, length, source: { kind: 'zero', allocated: true } });
  const grows = mode !== 'punch' && !keepSize;
  const size = grows ? Math.max(inode.record.size, offset + length) : inode.record.size;
  return finished(context, editor, inode, { size });
}

/** Moves bytes into chunks; times stay, the content version grows: extents seen before are out of date. */
export function moveInline(context: Context, operation: Of<'move-inline'>): OperationAnswer {
  const { record } = fileOf(context, operation.ino);
  const editor = new ContentEditor(context, operation.ino, record);
  const seen = new SeenExtents(operation.seen ?? []);
  for (const extent of operation.extents) {
    const length = Math.max(0, Math.min(extent.length, record.size - extent.offset));
    editor.move({ ...extent, length }, { contentVersion: operation.contentVersion, seen });
  }
  const change = {
    ...editor.finish({ isBeyondQuota: true }),
    contentVersion: editor.version,
    moves: record.moves + 1,
  };
  return { attributes: attributesOf(changeInode(context, operation.ino, change)) };
}
