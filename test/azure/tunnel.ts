/**
 * A proxy that leads every name to one port of this machine: programs that know only Azure's own
 * addresses, as restic 0.14, reach a server of a test with HTTPS_PROXY.
 */
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

/** A proxy that runs. */
export interface Tunnel {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts a proxy for CONNECT on a free port of the loopback interface. */
export async function startTunnel(port: number): Promise<Tunnel> {
  const sockets = new Set<Socket>();
  const proxy = createServer();
  proxy.on('connect', (_request, near: Socket, head: Buffer) => {
    const far = connect(port, '127.0.0.1', () => {
      near.write('HTTP/1.1 200 Connection established\r\n\r\n');
      far.write(head);
      near.pipe(far).pipe(near);
    });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => proxy.close(() => resolve()));
    },
  };
}
