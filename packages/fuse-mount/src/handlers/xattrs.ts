/** Operations on extended attributes (xattr(7)). */
import { HoldfastError, LIMITS } from '@holdfast/protocol';
import { REPLY_HEADER_BYTES } from '../kernel/abi.ts';
import { encodeLength, encodeNames } from '../kernel/encode.ts';
import { XATTR_FLAG } from '../kernel/flags.ts';
import { done, type HandlerTable } from './handler.ts';

type Xattrs = 'getxattr' | 'setxattr' | 'listxattr' | 'removexattr';

/** Handlers of extended attributes. */
export const XATTR_HANDLERS: HandlerTable<Xattrs> = {
  getxattr: async ({ name, length }, request, { fileSystem }) => {
    requireServed(name);
    const data = await fileSystem.getXattr(request.node, name, request);
    if (length === 0) return encodeLength(data.length);
    if (data.length > length) throw new HoldfastError('ERANGE');
    return { data: [data] };
  },

  setxattr: async ({ name, value, flags }, request, { fileSystem }) => {
    requireServed(name);
    if (value.length > LIMITS.xattrValueBytesMax) throw new HoldfastError('E2BIG');
    await fileSystem.setXattr(request.node, name, value, setMode(flags), request);
    return done();
  },

  listxattr: async ({ length }, request, { fileSystem }) => {
    const reply = encodeNames(await fileSystem.listXattrs(request.node, request));
    const bytes = reply.length - REPLY_HEADER_BYTES;
    if (length === 0) return encodeLength(bytes);
    if (bytes > length) throw new HoldfastError('ERANGE');
    return reply;
  },

  removexattr: async ({ name }, request, { fileSystem }) => {
    requireServed(name);
    await fileSystem.removeXattr(request.node, name, request);
    return done();
  },
};

/** `system.` holds what a file system gives meaning to, such as ACLs: storing without obeying them would deceive. */
function requireServed(name: string): void {
  if (name.startsWith('system.')) {
    throw new HoldfastError('ENOTSUP', `extended attribute ${name} has no meaning here`);
  }
}

function setMode(flags: number): 'set' | 'create' | 'replace' {
  if (flags === 0) return 'set';
  if (flags === XATTR_FLAG.create) return 'create';
  if (flags === XATTR_FLAG.replace) return 'replace';
  throw new HoldfastError('EINVAL', `setxattr with flags ${flags}`);
}
