import { ATTRIBUTE_HANDLERS } from './attributes.ts';
import { DIRECTORY_HANDLERS } from './directories.ts';
import { FILE_HANDLERS } from './files.ts';
import { done, type HandledOperation, type HandlerTable } from './handler.ts';
import { LOCK_HANDLERS } from './locks.ts';
import { NAME_HANDLERS } from './names.ts';
import { SPACE_HANDLERS } from './space.ts';
import { XATTR_HANDLERS } from './xattrs.ts';

/** The handler of every operation that is answered; the compiler sees to it that none is missing. */
export const HANDLERS: HandlerTable<HandledOperation> = {
  ...NAME_HANDLERS,
  ...FILE_HANDLERS,
  ...DIRECTORY_HANDLERS,
  ...ATTRIBUTE_HANDLERS,
  ...XATTR_HANDLERS,
  ...LOCK_HANDLERS,
  ...SPACE_HANDLERS,
  destroy: () => done(),
};
