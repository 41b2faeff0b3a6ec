/**
 * The file system seam over a unix socket, so that its state outlives the mount daemon, as a
 * cluster's does. Messages: length (u32), then the V8 serialisation of an object.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';
import {
  type FileSystem,
  fromWireError,
  type RequestContext,
  toWireError,
} from '@holdfast/protocol';
import type { MemoryFileSystem } from './memory-file-system.ts';

interface Call {
  readonly id: number;
  readonly method: string;
  readonly args: unknown[];
  /** Index of the context among the arguments; -1: none. */
  readonly contextAt: number;
}

type Message = Call | { readonly cancel: number };
type Answer = {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: ReturnType<typeof toWireError>;
};

/** Serves a file system to mount daemons, one after the other; opens are counted for each anew. */
export async function serveFileSystem(fileSystem: MemoryFileSystem, path: string): Promise<Server> {
  const server = createServer((socket) => {
    fileSystem.forgetOpens();
    const aborts = new Map<number, AbortController>();
    socket.on('error', () => {});
    receive<Message>(socket, (message) => {
      if ('cancel' in message) aborts.get(message.cancel)?.abort();
      else void answer(fileSystem, message, aborts).then((reply) => send(socket, reply));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

async function answer(
  fileSystem: FileSystem,
  call: Call,
  aborts: Map<number, AbortController>,
): Promise<Answer> {
  const { id, method, args, contextAt } = call;
  const abort = new AbortController();
  aborts.set(id, abort);
  if (contextAt >= 0) args[contextAt] = { ...(args[contextAt] as object), signal: abort.signal };
  try {
    const methods = fileSystem as unknown as Record<
      string,
      (...args: unknown[]) => Promise<unknown>
    >;
    return { id, value: await methods[method]?.(...args) };
  } catch (error) {
    return { id, error: toWireError(error) };
  } finally {
    aborts.delete(id);
  }
}

/** A file system whose every call goes to {@link serveFileSystem}. */
export function connectFileSystem(path: string): FileSystem {
  const socket = connect(path);
  const waiting = new Map<number, (answer: Answer) => void>();
  let last = 0;
  receive<Answer>(socket, (message) => waiting.get(message.id)?.(message));
  const call = async (method: string, args: unknown[]): Promise<unknown> => {
    last += 1;
    const id = last;
    const contextAt = args.findIndex((arg) => isContext(arg));
    const context = args[contextAt] as RequestContext | undefined;
    if (context !== undefined) {
      const { uid, gid, pid, requestId } = context;
      args[contextAt] = { uid, gid, pid, requestId };
      context.signal?.addEventListener('abort', () => send(socket, { cancel: id }));
    }
    const reply = new Promise<Answer>((resolve) => waiting.set(id, resolve));
    send(socket, { id, method, args, contextAt });
    const { value, error } = await reply;
    waiting.delete(id);
    if (error !== undefined) throw fromWireError(error);
    return value;
  };
  const local: Record<string, unknown> = {
    onInvalidate: () => {},
    isBelieved: () => false,
    resumed: () => {},
    close: async () => socket.destroy(),
  };
  return new Proxy({} as FileSystem, {
    get: (_target, method: string) => local[method] ?? ((...args: unknown[]) => call(method, args)),
  });
}

function isContext(arg: unknown): boolean {
  return typeof arg === 'object' && arg !== null && 'requestId' in arg;
}

function send(socket: Socket, message: Message | Answer): void {
  if (socket.destroyed) return;
  const body = serialize(message);
  const header = Buffer.alloc(4);
  header.writeUInt32LE(body.length);
  socket.cork();
  socket.write(header);
  socket.write(body);
  socket.uncork();
}

function receive<T>(socket: Socket, onMessage: (message: T) => void): void {
  let buffered = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4 && buffered.length >= 4 + buffered.readUInt32LE()) {
      const length = buffered.readUInt32LE();
      onMessage(deserialize(buffered.subarray(4, 4 + length)) as T);
      buffered = buffered.subarray(4 + length);
    }
  });
}
