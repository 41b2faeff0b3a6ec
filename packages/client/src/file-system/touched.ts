import type { InodeNumber, Operation } from '@holdfast/protocol';

/** One name in a directory. */
export interface Name {
  readonly parent: InodeNumber;
  readonly name: string;
}

/** What an operation may change, as far as can be told before it is done. */
export interface Touched {
  readonly inos: readonly InodeNumber[];
  readonly names: readonly Name[];
}

const NOTHING: Touched = { inos: [], names: [] };

/** The file whose bytes or length an operation other than a write changes. */
export function contentsChangedBy(operation: Operation): InodeNumber | undefined {
  if (operation.op === 'fallocate') return operation.ino;
  return operation.op === 'set-attributes' && operation.size !== undefined
    ? operation.ino
    : undefined;
}

/**
 * What an operation may change. `inodeAt` tells the inode under a name, 0 where there is none, or
 * undefined when that is not known: then undefined is the answer too, for anything may change.
 */
export function touchedBy(
  operation: Operation,
  inodeAt: (name: Name) => InodeNumber | 0 | undefined,
): Touched | undefined {
  switch (operation.op) {
    case 'create':
      return { inos: [operation.parent], names: [operation] };
    case 'link':
      return { inos: [operation.parent, operation.ino], names: [operation] };
    case 'unlink':
    case 'rmdir':
      return withInodesAt([operation], [operation.parent], inodeAt);
    case 'rename': {
      const { parent, newParent, newName } = operation;
      const names = [operation, { parent: newParent, name: newName }];
      return withInodesAt(names, [parent, newParent], inodeAt);
    }
    case 'set-attributes':
    case 'write-extents':
    case 'fallocate':
    case 'set-xattr':
    case 'remove-xattr':
      return { inos: [operation.ino], names: [] };
    case 'release-orphans':
      return { inos: operation.inos, names: [] };
    default:
      return NOTHING;
  }
}

function withInodesAt(
  names: readonly Name[],
  directories: readonly InodeNumber[],
  inodeAt: (name: Name) => InodeNumber | 0 | undefined,
): Touched | undefined {
  const found = names.map(inodeAt);
  if (found.includes(undefined)) return undefined;
  const inos = found.filter((ino): ino is InodeNumber => ino !== undefined && ino !== 0);
  return { inos: [...new Set([...directories, ...inos])], names };
}
