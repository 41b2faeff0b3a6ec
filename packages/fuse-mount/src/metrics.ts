import { createServer, type Server } from 'node:http';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { MountObserver } from './dispatcher.ts';

/** Seconds; a cached answer takes tens of microseconds, a synced write some milliseconds, an outage half a minute. */
const BUCKETS_SECONDS = [0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 1, 5, 30];

/** Metrics of one mount; `openFiles` is asked at each scrape. */
export class MountMetrics implements MountObserver {
  /** Where they are registered. */
  readonly registry = new Registry();
  readonly #requests = new Histogram({
    name: 'holdfast_mount_request_seconds',
    help: 'Time from reading a request of the kernel to its answer, by operation.',
    labelNames: ['op'] as const,
    buckets: BUCKETS_SECONDS,
    registers: [this.registry],
  });
  readonly #failures = new Counter({
    name: 'holdfast_mount_request_failures_total',
    help: 'Requests answered with an errno that is no ordinary refusal (EIO, ETIMEDOUT), by operation.',
    labelNames: ['op'] as const,
    registers: [this.registry],
  });

  constructor(openFiles: () => number) {
    new Gauge({
      name: 'holdfast_mount_open_files',
      help: 'Files that the kernel holds open.',
      registers: [this.registry],
      collect() {
        this.set(openFiles());
      },
    });
  }

  onRequest(op: string, seconds: number): void {
    this.#requests.observe({ op }, seconds);
  }

  onProblem(event: string, fields: Readonly<Record<string, unknown>>): void {
    if (event === 'request.failed') this.#failures.inc({ op: String(fields['op']) });
  }

  /** Answers GET /metrics at host:port; resolves when it listens. */
  async serve(address: { readonly host: string; readonly port: number }): Promise<Server> {
    const server = createServer((request, response) => {
      if (request.method !== 'GET' || request.url !== '/metrics') {
        response.writeHead(404).end();
        return;
      }
      void this.registry.metrics().then((text) => {
        response.writeHead(200, { 'content-type': this.registry.contentType }).end(text);
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(address.port, address.host, resolve);
    });
    server.unref();
    return server;
  }
}
