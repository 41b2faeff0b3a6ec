import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';

/** The part of the Docker Engine's API that the driver uses, on a unix socket. */
export class FakeEngine {
  /** Volumes of the driver in running containers. */
  readonly running = new Set<string>();
  hasLiveRestore = false;
  /** Paths asked, without their query. */
  readonly asked: string[] = [];
  readonly #path: string;
  readonly #driver: string;
  #server: Server | undefined;
  readonly #streams = new Set<ServerResponse>();

  constructor(path: string, driver: string) {
    this.#path = path;
    this.#driver = driver;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      const path = request.url?.split('?')[0] ?? '';
      this.asked.push(path);
      if (path === '/events') {
        this.#streams.add(response);
        response.writeHead(200).flushHeaders();
        return;
      }
      response.end(JSON.stringify(this.#answer(path)));
    });
    server.listen(this.#path);
    await once(server, 'listening');
    this.#server = server;
  }

  /** Ends as an engine does: all its connections break. */
  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server?.close(() => resolve());
    this.#server?.closeAllConnections();
    await promise;
  }

  #answer(path: string): unknown {
    if (path === '/info') return { LiveRestoreEnabled: this.hasLiveRestore };
    if (path === '/volumes') return { Volumes: [] };
    const mounts = [...this.running].map((Name) => ({
      Type: 'volume',
      Name,
      Driver: this.#driver,
    }));
    return [
      { Id: 'a', Mounts: mounts },
      { Id: 'b', Mounts: [{ Type: 'volume', Name: 'foreign', Driver: 'local' }] },
    ];
  }
}
