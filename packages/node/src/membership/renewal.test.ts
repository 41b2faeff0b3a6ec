import { createPublicKey, X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../testing/peers.ts';
import { describeCertificate, verifyCertificate } from './certificates.ts';
import { readIdentity } from './identity.ts';
import { renewClient } from './renewal.ts';

const DAY_MS = 86_400_000;

describe('the certificate of a host that is a client', () => {
  let cluster: TestCluster;
  let addresses: readonly string[];
  beforeAll(async () => {
    cluster = await TestCluster.begin();
    await cluster.join('web', { role: 'client', token: cluster.made.tokens.client });
    addresses = ['127.0.0.1:1', cluster.made.grpcAddress];
  }, 60_000);
  afterAll(() => cluster?.close(), 60_000);

  it('is renewed by any peer that answers, when it is due', async () => {
    const before = (await readIdentity(cluster.data('web')))?.tls;
    expect(await renewClient(cluster.data('web'), addresses, Date.now() + 240 * DAY_MS)).toBe(
      false,
    );
    expect(await renewClient(cluster.data('web'), addresses, Date.now() + 250 * DAY_MS)).toBe(true);
    const after = (await readIdentity(cluster.data('web')))?.tls;
    const cert = after?.cert ?? '';
    expect([after?.key, after?.ca]).toEqual([before?.key, before?.ca]);
    const old = describeCertificate(before?.cert ?? '').identity;
    const renewed = verifyCertificate(after?.ca ?? '', cert, Date.now() + 364 * DAY_MS);
    expect(renewed).toEqual({ ...old, serial: renewed.serial });
    expect(renewed.serial).not.toBe(old.serial);
    expect(new X509Certificate(cert).publicKey.equals(createPublicKey(after?.key ?? ''))).toBe(
      true,
    );
  });

  it('stays as it is when no peer answers', async () => {
    const before = await readIdentity(cluster.data('web'));
    const asked = renewClient(cluster.data('web'), ['127.0.0.1:1'], Date.now() + 300 * DAY_MS);
    await expect(asked).rejects.toMatchObject({ kind: 'outage' });
    expect(await readIdentity(cluster.data('web'))).toEqual(before);
  });
});
