import { connect } from 'node:net';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePorts, LOOPBACK } from '../testing/peers.ts';
import { listenProbes } from './probes.ts';
import type { Listening } from './server.ts';

let server: Listening;
let port: number;
beforeEach(async () => {
  port = await freePorts();
  const operations = { notReady: () => [], metrics: new Registry() };
  server = await listenProbes(operations, { host: LOOPBACK, port });
});
afterEach(() => server.close());

/** Sends these bytes; what comes back until the server closes, as status and JSON. */
function send(text: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, LOOPBACK, () => socket.write(text));
    let answer = '';
    socket.setEncoding('utf8').on('data', (part) => {
      answer += part;
    });
    socket.on('error', reject);
    socket.on('end', () => {
      const [head = '', body = ''] = answer.split('\r\n\r\n');
      resolve({ status: Number(head.split(' ')[1]), body: JSON.parse(body) });
    });
  });
}

const request = (line: string, header = 'x: y', body = ''): string =>
  `${line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: ${body.length}\r\n${header}\r\n\r\n${body}`;

describe('a server of probes', () => {
  it.each([
    ['an unknown path', request('GET /nope'), 404, 'NOT_FOUND', /\/healthz, \/readyz/],
    ['a method', request('DELETE /healthz'), 405, 'METHOD_NOT_ALLOWED', /GET/],
    [
      'a long head',
      request('GET /healthz', `x: ${'y'.repeat(20_000)}`),
      431,
      'TOO_LARGE',
      /16 KiB/,
    ],
    ['no HTTP', 'hello\r\n\r\n', 400, 'BAD_REQUEST', /no HTTP/],
    [
      'a body',
      request('POST /healthz', 'content-type: text/xml', '<a/>'),
      405,
      'METHOD_NOT_ALLOWED',
      /GET/,
    ],
  ])('answers %s with JSON and a code', async (_, text, status, code, message) => {
    const body = { code, message: expect.stringMatching(message), detail: {} };
    expect(await send(text)).toEqual({ status, body });
  });
});
