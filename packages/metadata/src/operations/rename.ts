import {
  HoldfastError,
  type InodeNumber,
  LIMITS,
  type Operation,
  type OperationAnswer,
  ROOT_INODE,
} from '@holdfast/protocol';
import type { Context } from '../context.ts';
import {
  addEntry,
  checkName,
  entryOf,
  findEntry,
  type Place,
  removeEntry,
  replaceEntry,
} from '../dentries.ts';
import {
  attributesOf,
  changeInode,
  directoryOf,
  type Inode,
  inodeOf,
  namedDirectoryOf,
} from '../inodes.ts';
import { dropLink } from './names.ts';

/** The two names of a rename and the inode under the old one. */
interface Move {
  readonly from: Place;
  readonly to: Place;
  readonly source: Inode;
}

/** rename(2) and renameat2(2). Refusals in the order in which Linux checks (fs/namei.c). */
export function rename(
  context: Context,
  operation: Extract<Operation, { op: 'rename' }>,
): OperationAnswer {
  const from = { parent: operation.parent, name: operation.name };
  const to = { parent: operation.newParent, name: operation.newName };
  namedDirectoryOf(context, from.parent);
  namedDirectoryOf(context, to.parent);
  checkName(from.name);
  checkName(to.name);
  const source = inodeOf(context, entryOf(context, from).ino);
  const present = findEntry(context, to);
  const target = present === undefined ? undefined : inodeOf(context, present.ino);
  if (operation.flag === 'noreplace' && target !== undefined) throw new HoldfastError('EEXIST');
  if (operation.flag === 'exchange' && target === undefined) throw new HoldfastError('ENOENT');
  if (source.record.kind === 'directory') checkNoLoop(context, source.ino, to.parent);
  const move = { from, to, source };
  if (target === undefined) return moveTo(context, move);
  if (operation.flag === 'exchange') return exchange(context, move, target);
  return replace(context, move, target);
}

/** EINVAL when `parent` is the directory `ino` or lies below it. ELOOP beyond LIMITS.directoryDepthMax. */
function checkNoLoop(context: Context, ino: InodeNumber, parent: InodeNumber): void {
  let at = parent;
  for (let depth = 0; depth <= LIMITS.directoryDepthMax; depth++) {
    if (at === ino) {
      throw new HoldfastError('EINVAL', 'a directory cannot be moved into itself or below itself');
    }
    if (at === ROOT_INODE) return;
    at = directoryOf(context, at).record.parent;
  }
  throw new HoldfastError('ELOOP', 'the directory lies too deep to be searched for a loop');
}

function moveTo(context: Context, { from, to, source }: Move): OperationAnswer {
  removeEntry(context, directoryOf(context, from.parent), from.name, source);
  addEntry(context, directoryOf(context, to.parent), to.name, source);
  return { attributes: attributesOf(moved(context, source, to.parent)) };
}

/** The inode under its new name: it has another parent, where it has one, and a new ctime. */
function moved(context: Context, { ino, record }: Inode, parent: InodeNumber): Inode {
  const ctimeNs = context.nowNs;
  // Of several names none says where it is.
  const isNamedOnce = record.kind === 'directory' || record.nlink === 1;
  return changeInode(context, ino, { ctimeNs, parent: isNamedOnce ? parent : (0 as InodeNumber) });
}

function exchange(context: Context, { from, to, source }: Move, target: Inode): OperationAnswer {
  if (source.ino === target.ino) return unchanged(source, target);
  if (target.record.kind === 'directory') checkNoLoop(context, target.ino, from.parent);
  replaceEntry(context, directoryOf(context, from.parent), from.name, { from: source, to: target });
  replaceEntry(context, directoryOf(context, to.parent), to.name, { from: target, to: source });
  const replaced = attributesOf(moved(context, target, from.parent));
  return { attributes: attributesOf(moved(context, source, to.parent)), replaced };
}

/** Two names of one inode: rename(2) does nothing and succeeds. */
function unchanged(source: Inode, target: Inode): OperationAnswer {
  return { attributes: attributesOf(source), replaced: attributesOf(target) };
}

function replace(context: Context, { from, to, source }: Move, target: Inode): OperationAnswer {
  if (source.ino === target.ino) return unchanged(source, target);
  const isDirectory = source.record.kind === 'directory';
  if (isDirectory && target.record.kind !== 'directory') throw new HoldfastError('ENOTDIR');
  if (!isDirectory && target.record.kind === 'directory') throw new HoldfastError('EISDIR');
  if (target.record.children > 0) throw new HoldfastError('ENOTEMPTY');
  removeEntry(context, directoryOf(context, from.parent), from.name, source);
  replaceEntry(context, directoryOf(context, to.parent), to.name, { from: target, to: source });
  const attributes = attributesOf(moved(context, source, to.parent));
  const { orphan, attributes: replaced } = dropLink(context, target);
  return {
    attributes,
    ...(replaced === undefined ? {} : { replaced }),
    ...(orphan === undefined ? {} : { orphan }),
  };
}
