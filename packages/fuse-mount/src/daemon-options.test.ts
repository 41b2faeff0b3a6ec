import { describe, expect, it } from 'vitest';
import { parseDaemonOptions } from './daemon-options.ts';

const NEEDED = ['--mountpoint', '/mnt/cluster', '--state', '/run/m', '--data', '/var/lib/holdfast'];

describe('parseDaemonOptions', () => {
  it('reads the least and the most', () => {
    expect(parseDaemonOptions(NEEDED)).toEqual({
      descriptor: 3,
      mountpoint: '/mnt/cluster',
      stateDirectory: '/run/m',
      dataDirectory: '/var/lib/holdfast',
      addresses: [],
    });
    const most = ['--device', '7', '--address', 'a:1', '--address', '[::1]:2', '--wait', '0'];
    most.push('--renew-by', '/bin/holdfast');
    expect(parseDaemonOptions([...NEEDED, ...most, '--metrics', '127.0.0.1:9000'])).toMatchObject({
      descriptor: 7,
      addresses: ['a:1', '[::1]:2'],
      operationWaitMs: 0,
      renewBy: '/bin/holdfast',
      metrics: { host: '127.0.0.1', port: 9000 },
    });
  });

  it.each([
    [[], /--mountpoint is missing/],
    [[...NEEDED, '--colour'], /--colour/],
    [['--mountpoint', 'mnt', '--state', '/s', '--data', '/d'], /not an absolute path/],
    [['--mountpoint', '/m', '--state', '/m/s', '--data', '/d'], /lies in the mount itself/],
    [['--mountpoint', '/m', '--state', '/m', '--data', '/d'], /lies in the mount itself/],
    [[...NEEDED, '--renew-by', 'holdfast'], /--renew-by holdfast/],
    [[...NEEDED, '--wait', '1s'], /--wait 1s/],
    [[...NEEDED, '--wait', '86400001'], /--wait/],
    [[...NEEDED, '--device', '-1'], /--device/],
    [[...NEEDED, '--address', 'host'], /HOST:PORT/],
    [[...NEEDED, '--metrics', 'host:99999'], /HOST:PORT/],
  ])('refuses %j with a sentence and the usage', (args, message) => {
    expect(() => parseDaemonOptions(args)).toThrow(message);
    expect(() => parseDaemonOptions(args)).toThrow(/HOST:PORT\]$/);
  });
});
