/** Where archives are written to and read from: files and the standard streams. */
import { createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HoldfastError } from '@holdfast/protocol';

/** The standard stream in place of a file. */
export const STANDARD_STREAM = '-';

/**
 * Writes an archive. A file appears under its name when it is complete and on disk; what is not a
 * regular file (a tape, a fifo) is written to as it is.
 */
export async function writeArchive(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  if (path === STANDARD_STREAM) {
    if (process.stdout.isTTY)
      throw new HoldfastError(
        'BAD_REQUEST',
        'this is not written to a terminal; redirect it, or name a file with -o',
      );
    return pipeline(bytes, process.stdout, { end: false });
  }
  const there = await stat(path).catch(() => undefined);
  if (there?.isDirectory()) throw new HoldfastError('BAD_REQUEST', `${path} is a directory`);
  if (there !== undefined && !there.isFile()) return pipeline(bytes, createWriteStream(path));
  const part = `${path}.part-${process.pid}`;
  const file = await open(part, 'wx').catch((cause: unknown) => {
    throw new HoldfastError('BAD_REQUEST', `cannot write ${path}: ${textOf(cause)}`, { cause });
  });
  try {
    for await (const chunk of bytes) await file.writeFile(chunk);
    await file.sync();
    await file.close();
    await rename(part, path);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(part, { force: true });
    throw asKnown(error, path);
  }
}

/** The bytes of standard input, until the signal. */
export function standardInput(signal: AbortSignal): AsyncIterable<Uint8Array> {
  return addAbortSignal(signal, process.stdin);
}

/** Throws NOT_FOUND or BAD_REQUEST unless a file can be read; before anything else is begun. */
export async function checkReadable(path: string): Promise<void> {
  const file = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === 'ENOENT' ? 'NOT_FOUND' : 'BAD_REQUEST';
    throw new HoldfastError(code, `cannot read ${path}: ${textOf(cause)}`, { cause });
  });
  const isDirectory = (await file.stat()).isDirectory();
  await file.close();
  if (isDirectory) throw new HoldfastError('BAD_REQUEST', `${path} is a directory, not an archive`);
}

function asKnown(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof HoldfastError || (code !== 'ENOSPC' && code !== 'EDQUOT')) return error;
  return new HoldfastError('ENOSPC', `there is no room left for ${path}`, { cause: error });
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
