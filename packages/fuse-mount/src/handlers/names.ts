/** Operations on names: lookup, make, link, rename, remove. */
import { HoldfastError } from '@holdfast/protocol';
import { encodeText, kindOf } from '../kernel/encode.ts';
import { RENAME_FLAG } from '../kernel/flags.ts';
import { done, entryReply, type HandlerTable, modesOf } from './handler.ts';

type Names =
  | 'lookup'
  | 'mkdir'
  | 'mknod'
  | 'symlink'
  | 'readlink'
  | 'link'
  | 'unlink'
  | 'rmdir'
  | 'rename';

const NEW = { rdev: 0, target: '', exclusive: true } as const;

/** Handlers of the name space. */
export const NAME_HANDLERS: HandlerTable<Names> = {
  lookup: async ({ name }, request, state) => {
    const answer = await state.fileSystem.lookup(request.node, name, request);
    return entryReply(answer, name, request, state);
  },

  mkdir: async ({ name, mode, umask }, request, state) => {
    const options = { ...NEW, kind: 'directory', ...modesOf(mode, umask) } as const;
    const answer = await state.fileSystem.create(request.node, name, options, request);
    return entryReply(answer, name, request, state);
  },

  mknod: async ({ name, mode, umask, rdev }, request, state) => {
    const kind = kindOf(mode);
    if (kind === undefined || kind === 'directory' || kind === 'symlink') {
      throw new HoldfastError('EINVAL', `mknod of type 0${(mode & 0o170000).toString(8)}`);
    }
    const isDevice = kind === 'char' || kind === 'block';
    const options = { ...NEW, kind, ...modesOf(mode & 0o7777, umask), rdev: isDevice ? rdev : 0 };
    const answer = await state.fileSystem.create(request.node, name, options, request);
    return entryReply(answer, name, request, state);
  },

  symlink: async ({ name, target }, request, state) => {
    const options = { ...NEW, kind: 'symlink', mode: 0o777, target } as const;
    const answer = await state.fileSystem.create(request.node, name, options, request);
    return entryReply(answer, name, request, state);
  },

  readlink: async (_body, request, { fileSystem }) => {
    return encodeText(await fileSystem.readLink(request.node, request));
  },

  link: async ({ node, newName }, request, state) => {
    const answer = await state.fileSystem.link(node, request.node, newName, request);
    return entryReply(answer, newName, request, state);
  },

  unlink: async ({ name }, request, { fileSystem }) => {
    await fileSystem.unlink(request.node, name, request);
    return done();
  },

  rmdir: async ({ name }, request, { fileSystem }) => {
    await fileSystem.removeDirectory(request.node, name, request);
    return done();
  },

  rename: async ({ name, newParent, newName, flags }, request, { fileSystem, invalidator }) => {
    const from = { parent: request.node, name };
    const to = { parent: newParent, name: newName };
    const flag = renameFlag(flags);
    // Before: while it is under way the kernel holds back who wants to drop these names.
    invalidator.namesMoving(from, to);
    await fileSystem.rename(from, to, flag, request);
    return done();
  },
};

/** RENAME_WHITEOUT and both flags at once are refused, as renameat2(2) has it. */
function renameFlag(flags: number): 'replace' | 'noreplace' | 'exchange' {
  if (flags === 0) return 'replace';
  if (flags === RENAME_FLAG.noReplace) return 'noreplace';
  if (flags === RENAME_FLAG.exchange) return 'exchange';
  throw new HoldfastError('EINVAL', `rename with flags ${flags}`);
}
