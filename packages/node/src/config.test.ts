import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig, nearest, parseDuration, parseSize } from './config.ts';

const directory = mkdtempSync(join(tmpdir(), 'holdfast-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

function file(text: string): string {
  const path = join(directory, 'holdfast.yaml');
  writeFileSync(path, text);
  return path;
}

describe('configuration', () => {
  it('has a default for everything', () => {
    expect(loadConfig({ file: file('') })).toMatchObject({
      dataDirectory: '/var/lib/holdfast',
      bind: '0.0.0.0',
      probeBind: '127.0.0.1',
      outAfterMs: 600_000,
      orphanAgeMs: 86_400_000,
      repairIntervalMs: 10_000,
      discovery: true,
      overrides: {},
      adminSocket: '/var/lib/holdfast/admin.sock',
    });
  });

  it('takes flags before environment before file', () => {
    const path = file('zone: from-file\nweight: 2\nout-after: 1h\nmount: /mnt/cluster\n');
    const environment = {
      HOLDFAST_ZONE: 'from-env',
      HOLDFAST_PORT: '9000',
      HOLDFAST_JOIN_TOKEN: 'x',
      HOLDFAST_NAME: '',
    };
    const config = loadConfig({
      file: path,
      environment,
      flags: { port: 9100, data: '/d', name: undefined },
    });
    expect(config.overrides).toEqual({ zone: 'from-env', weight: 2, port: 9100 });
    expect(config).toMatchObject({ outAfterMs: 3_600_000, dataDirectory: '/d' });
  });

  it.each([
    ['zonne: x', /unknown key 'zonne' in .*holdfast.yaml; did you mean 'zone'/],
    ['port: 70000', /wrong value '70000' for 'port' in .*: a whole number from 1 to 65531/],
    ['bind: 1.2.3.999', /an IP address of this host/],
    ["bind: ''", /an IP address of this host/],
    ['probe-bind: here', /'probe-bind'.* an IP address/],
    ['address: 0.0.0.0', /not the address of one host/],
    ["zone: ''", /'zone'.*must not be empty/],
    ['port: 12x', /a whole number/],
    ['out-after: 10', /a duration .* such as 30s/],
    ['out-after: 10 minutes', /a duration/],
    ['capacity: lots', /a size is needed/],
    ['weight: -1', /'weight'/],
    ['log-level: loud', /'log-level'/],
    ['- a', /must hold keys and values/],
    ['a: [', /is not YAML/],
  ])('refuses %j in the file', (text, message) => {
    expect(() => loadConfig({ file: file(text) })).toThrow(message);
    expect(() => loadConfig({ file: file(text) })).toThrow(
      expect.objectContaining({ code: 'BAD_CONFIG' }),
    );
  });

  it('names variable or flag in what it refuses', () => {
    expect(() => loadConfig({ environment: { HOLDFAST_DOWN_AFTER: 'soon' } })).toThrow(
      /'HOLDFAST_DOWN_AFTER' in the environment/,
    );
    expect(() => loadConfig({ flags: { prot: 1 } })).toThrow(
      /'--prot' on the command line; did you mean '--port'/,
    );
    expect(() => loadConfig({ file: join(directory, 'absent') })).toThrow(/cannot read .*absent/);
  });

  it('reads durations and sizes', () => {
    expect(['500ms', '1.5s', '10m', '12h', '7d'].map(parseDuration)).toEqual([
      500, 1500, 600_000, 43_200_000, 604_800_000,
    ]);
    expect(['', '5', 's', '5w', '-5s'].map(parseDuration)).toEqual(Array(5).fill(undefined));
    expect(['0', '1024', '1k', '10G', '10GiB', '10GB', '1.5M'].map(parseSize)).toEqual([
      0,
      1024,
      1024,
      10 * 2 ** 30,
      10 * 2 ** 30,
      10 * 2 ** 30,
      1.5 * 2 ** 20,
    ]);
    expect(['', 'x', '10Q', '1e30', '99999999P'].map(parseSize)).toEqual(Array(5).fill(undefined));
  });

  it('finds the nearest word', () => {
    expect(nearest('out_after', ['data', 'out-after', 'down-after'])).toBe('out-after');
  });
});
