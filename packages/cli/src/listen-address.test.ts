import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { checkListen, parseListen } from './listen-address.ts';

describe('an address to listen on', () => {
  it.each(['127.0.0.1:0', '[::1]:9464', 'localhost:65535'])('may be %s', (text) => {
    expect(parseListen(text)).toBe(text);
  });

  it.each(['', 'x', ':1', '127.0.0.1', '127.0.0.1:99999', '::1:80', 'h:-1'])(
    'is not %j',
    (text) => {
      expect(() => parseListen(text)).toThrow(/write HOST:PORT/);
    },
  );

  it('must be free, and one of this host', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(checkListen('--metrics', taken)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringMatching(/is taken.*--metrics/),
    });
    server.close();
    await once(server, 'close');
    await checkListen('--metrics', taken);
    const elsewhere = checkListen('--metrics', '192.0.2.77:0');
    await expect(elsewhere).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});
