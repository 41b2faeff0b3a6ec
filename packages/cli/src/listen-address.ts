/** Addresses that a part of Holdfast is told to listen on. */
import { createServer } from 'node:net';
import { HoldfastError } from '@holdfast/protocol';

/** Takes HOST:PORT apart, an IPv6 host in brackets. Undefined when it is none. */
function apart(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const [host, port] = [match?.[1] ?? match?.[2], Number(match?.[3])];
  return host === undefined || !(port <= 65_535) ? undefined : { host, port };
}

/** For options: the text as it is. Throws BAD_REQUEST unless it is HOST:PORT. */
export function parseListen(text: string): string {
  if (apart(text) !== undefined) return text;
  const message = `'${text}' is no address to listen on; write HOST:PORT, such as 127.0.0.1:9464`;
  throw new HoldfastError('BAD_REQUEST', message);
}

/** Throws PORT_IN_USE or BAD_REQUEST, naming the option, unless one can listen there now. */
export async function checkListen(option: string, text: string): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ ...apart(text), exclusive: true }, resolve);
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
