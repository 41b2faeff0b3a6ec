import {
  type FileSystem,
  LIMITS,
  type NodeReference,
  type RequestContext,
} from '@holdfast/protocol';

/** A file of the namespace that is open for reading, and on whose behalf each request is. */
interface OpenFile {
  readonly fileSystem: FileSystem;
  readonly node: NodeReference;
  readonly context: () => RequestContext;
}

/** Fills `into` with the file's bytes from `offset`; answers how many, fewer only at its end. */
export async function readInto(
  { fileSystem, node, context }: OpenFile,
  into: Uint8Array,
  offset: number,
): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const end = done + Math.min(into.length - done, LIMITS.ioBytesMax);
    for (const piece of await fileSystem.read(node, offset + done, end - done, context())) {
      into.set(piece, done);
      done += piece.length;
    }
    if (done < end) break;
  }
  return done;
}
