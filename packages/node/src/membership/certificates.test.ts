import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { NodeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import {
  authoritySecret,
  CERTIFICATE_VALID_MS,
  certificateDigest,
  createAuthority,
  createRequest,
  describeCertificate,
  isDueForRenewal,
  issue,
  newSerial,
  renewalRequest,
  verifyCertificate,
} from './certificates.ts';

const clusterId = 'c0ffee00c0ffee00';
const subject = {
  clusterId,
  role: 'node',
  node: 7 as NodeNumber,
  name: 'host-7',
  hosts: ['127.0.0.1', 'host-7'],
} as const;

describe('certificates', () => {
  it('name cluster, role, number, name and serial of their holder', async () => {
    const now = Date.now();
    const ca = await createAuthority(clusterId, now);
    const { request } = await createRequest();
    const serial = newSerial();
    const cert = await issue(ca, request, subject, { serial, now });
    expect(verifyCertificate(ca.cert, cert, now)).toEqual({
      clusterId,
      role: 'node',
      node: 7,
      name: 'host-7',
      serial,
    });
    const client = await issue(
      ca,
      request,
      { clusterId, role: 'client', name: 'web 1' },
      { serial, now },
    );
    expect(verifyCertificate(ca.cert, client, now)).toEqual({
      clusterId,
      role: 'client',
      name: 'web 1',
      serial,
    });
  });

  it('of another authority, expired or not yet valid are refused', async () => {
    const now = Date.now();
    const [ours, theirs] = await Promise.all([
      createAuthority(clusterId, now),
      createAuthority(clusterId, now),
    ]);
    const { request } = await createRequest();
    const cert = await issue(theirs, request, subject, { serial: newSerial(), now });
    expect(() => verifyCertificate(ours.cert, cert, now)).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' }),
    );
    const own = await issue(ours, request, subject, { serial: newSerial(), now });
    expect(() => verifyCertificate(ours.cert, own, now + CERTIFICATE_VALID_MS + 1000)).toThrow(
      /valid from/,
    );
    expect(() => verifyCertificate(ours.cert, own, now - 86_400_000)).toThrow(/valid from/);
  });

  it('are due for renewal when a third of their life is left, and renewed for the same key', async () => {
    const now = Date.now();
    const ca = await createAuthority(clusterId, now);
    const { request, key } = await createRequest();
    const cert = await issue(ca, request, subject, { serial: newSerial(), now });
    expect(isDueForRenewal(cert, now + CERTIFICATE_VALID_MS * 0.6)).toBe(false);
    expect(isDueForRenewal(cert, now + CERTIFICATE_VALID_MS * 0.7)).toBe(true);
    const renewed = await issue(ca, await renewalRequest(key), subject, {
      serial: newSerial(),
      now,
    });
    const { X509Certificate } = await import('node:crypto');
    expect(new X509Certificate(renewed).publicKey.equals(new X509Certificate(cert).publicKey)).toBe(
      true,
    );
  });

  it('refuse a request that is garbage or altered', async () => {
    const ca = await createAuthority(clusterId, Date.now());
    const options = { serial: newSerial(), now: Date.now() };
    await expect(issue(ca, 'nonsense', subject, options)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
    const { request } = await createRequest();
    const lines = request.split('\n');
    const body = Buffer.from(lines.slice(1, -1).join(''), 'base64');
    body.writeUInt8(body.readUInt8(body.length - 1) ^ 1, body.length - 1);
    const altered = [lines[0], body.toString('base64'), lines.at(-1)].join('\n');
    await expect(issue(ca, altered, subject, options)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
  });

  it('carry a mutual TLS 1.3 handshake, the server showing the authority to those who pin it', async () => {
    const now = Date.now();
    const ca = await createAuthority(clusterId, now);
    const [server, client] = await Promise.all([createRequest(), createRequest()]);
    const cert = await issue(ca, server.request, subject, { serial: newSerial(), now });
    const clientCert = await issue(
      ca,
      client.request,
      { clusterId, role: 'client', name: 'c' },
      { serial: newSerial(), now },
    );
    const listener = createServer({
      ca: ca.cert,
      cert,
      key: server.key,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
    const socket = connect({
      port,
      host: '127.0.0.1',
      ca: ca.cert,
      cert: clientCert,
      key: client.key,
    });
    await once(socket, 'secureConnect');
    const [inner] = await accepted;
    expect(socket.authorized).toBe(true);
    expect(describeCertificate(inner.getPeerCertificate().raw).identity.name).toBe('c');
    const chain = socket.getPeerCertificate(true);
    expect(certificateDigest(ca.cert)).toBe(
      chain.issuerCertificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    );
    socket.destroy();
    inner.destroy();
    listener.close();
  });

  it('give every holder of the authority the same secret, another for each purpose', async () => {
    const ca = await createAuthority(clusterId, Date.now());
    expect(authoritySecret(ca, 'discovery')).toEqual(authoritySecret({ ...ca }, 'discovery'));
    expect(authoritySecret(ca, 'discovery')).not.toEqual(authoritySecret(ca, 'else'));
  });
});
