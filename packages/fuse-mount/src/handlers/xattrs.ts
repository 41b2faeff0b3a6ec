/** Operations on extended attributes (xattr(7)). */
import { aclBitOf, HoldfastError, LIMITS } from '@holdfast/protocol';
import { REPLY_HEADER_BYTES } from '../kernel/abi.ts';
import { encodeLength, encodeNames } from '../kernel/encode.ts';
import { XATTR_FLAG } from '../kernel/flags.ts';
import { done, type HandlerTable, type MountState } from './handler.ts';

type Xattrs = 'getxattr' | 'setxattr' | 'listxattr' | 'removexattr';

/** Handlers of extended attributes. */
export const XATTR_HANDLERS: HandlerTable<Xattrs> = {
  getxattr: async ({ name, length }, request, state) => {
    requireServed(name, state);
    const get = (): Promise<Uint8Array> => state.fileSystem.getXattr(request.node, name, request);
    const isAcl = aclBitOf(name) !== 0;
    const data = await (isAcl ? state.invalidator.askingAcl(request.node, get) : get());
    if (length === 0) return encodeLength(data.length);
    if (data.length > length) throw new HoldfastError('ERANGE');
    return { data: [data] };
  },

  setxattr: async ({ name, value, flags, killSetGroup }, request, state) => {
    requireServed(name, state);
    if (value.length > LIMITS.xattrValueBytesMax) throw new HoldfastError('E2BIG');
    const options = { mode: setMode(flags), ...(killSetGroup && { killSetGroup }) };
    await state.fileSystem.setXattr(request.node, name, value, options, request);
    return done();
  },

  listxattr: async ({ length }, request, { fileSystem, hasAcls }) => {
    const names = await fileSystem.listXattrs(request.node, request);
    const reply = encodeNames(names.filter((name) => hasAcls || aclBitOf(name) === 0));
    const bytes = reply.length - REPLY_HEADER_BYTES;
    if (length === 0) return encodeLength(bytes);
    if (bytes > length) throw new HoldfastError('ERANGE');
    return reply;
  },

  removexattr: async ({ name }, request, state) => {
    requireServed(name, state);
    await state.fileSystem.removeXattr(request.node, name, request);
    return done();
  },
};

/** `system.` holds what a file system gives meaning to: storing without obeying it would deceive. */
function requireServed(name: string, { hasAcls }: MountState): void {
  if (name.startsWith('system.') && !(hasAcls && aclBitOf(name) !== 0)) {
    throw new HoldfastError('ENOTSUP', `extended attribute ${name} has no meaning here`);
  }
}

function setMode(flags: number): 'set' | 'create' | 'replace' {
  if (flags === 0) return 'set';
  if (flags === XATTR_FLAG.create) return 'create';
  if (flags === XATTR_FLAG.replace) return 'replace';
  throw new HoldfastError('EINVAL', `setxattr with flags ${flags}`);
}
