/** Addresses that a part of Holdfast is told to listen on. */
import { createServer } from 'node:net';
import { HoldfastError, parseHostPort } from '@holdfast/protocol';

/** For options: the text as it is. Throws BAD_REQUEST unless it is HOST:PORT. */
export function parseListen(text: string): string {
  if (parseHostPort(text) !== undefined) return text;
  const message = `'${text}' is no address to listen on; write HOST:PORT, such as 127.0.0.1:9464`;
  throw new HoldfastError('BAD_REQUEST', message);
}

/** Throws PORT_IN_USE or BAD_REQUEST, naming the option, unless one can listen there now. */
export async function checkListen(option: string, text: string): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ ...parseHostPort(text), exclusive: true }, resolve);
    });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const isTaken = code === 'EADDRINUSE';
    const why = isTaken ? 'is taken' : `cannot be listened on (${code})`;
    const message = `${text} ${why}; name another with ${option}`;
    throw new HoldfastError(isTaken ? 'PORT_IN_USE' : 'BAD_REQUEST', message, { cause });
  }
  await new Promise((resolve) => server.close(resolve));
}
