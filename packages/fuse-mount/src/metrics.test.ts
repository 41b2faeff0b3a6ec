import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { MountMetrics } from './metrics.ts';

describe('MountMetrics', () => {
  it('counts requests by operation and what failed in them, and shows the open files', async () => {
    const metrics = new MountMetrics(() => 7);
    metrics.onRequest('read', 0.001);
    metrics.onRequest('read', 0.3);
    metrics.onProblem('request.failed', { op: 'write' });
    metrics.onProblem('request.refused', { op: 'write' });
    const server = await metrics.serve({ host: '127.0.0.1', port: 0 });
    const { port } = server.address() as AddressInfo;
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(404);
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        'holdfast_mount_request_seconds_bucket{le="0.2",op="read"} 1',
        'holdfast_mount_request_seconds_count{op="read"} 2',
        'holdfast_mount_request_failures_total{op="write"} 1',
        'holdfast_mount_open_files 7',
      ]),
    );
    server.closeAllConnections();
    server.close();
    await expect(metrics.serve({ host: '256.0.0.1', port: 0 })).rejects.toThrow(
      /ENOTFOUND|EAI_AGAIN/,
    );
  });
});
