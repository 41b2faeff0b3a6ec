/** Space of a volume, and space reserved or given back within a file. */
import { HoldfastError } from '@holdfast/protocol';
import { encodeSpace } from '../kernel/encode.ts';
import { FALLOCATE_FLAG } from '../kernel/flags.ts';
import { done, type HandlerTable } from './handler.ts';

/** Handlers of STATFS and FALLOCATE. */
export const SPACE_HANDLERS: HandlerTable<'statfs' | 'fallocate'> = {
  statfs: async (_body, request, { fileSystem }) => {
    return encodeSpace(await fileSystem.space(request.node, request));
  },

  fallocate: async ({ mode, offset, length }, request, { fileSystem }) => {
    const keepSize = (mode & FALLOCATE_FLAG.keepSize) !== 0;
    const options = { mode: allocationMode(mode), keepSize, offset, length };
    await fileSystem.allocate(request.node, options, request);
    return done();
  },
};

function allocationMode(mode: number): 'allocate' | 'punch' | 'zero' {
  const kind = mode & ~FALLOCATE_FLAG.keepSize;
  if (kind === 0) return 'allocate';
  if (kind === FALLOCATE_FLAG.zeroRange) return 'zero';
  // fallocate(2): punching needs FALLOC_FL_KEEP_SIZE.
  if (mode === (FALLOCATE_FLAG.punchHole | FALLOCATE_FLAG.keepSize)) return 'punch';
  throw new HoldfastError('ENOTSUP', `fallocate with mode ${mode}`);
}
