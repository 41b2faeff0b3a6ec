import { decode, encode, HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { createAuthority, createRequest, issue, newSerial } from './certificates.ts';
import {
  type DiscoveryRecord,
  type RecordTrust,
  readRecord,
  signRecord,
} from './discovery-record.ts';

const clusterId = '00112233445566778899aabbccddeeff';
const now = Date.now();
const record: DiscoveryRecord = {
  clusterId,
  node: 3 as NodeNumber,
  time: now,
  grpcAddress: 'h:1',
  wireAddress: 'h:2',
  adminAddress: 'h:3',
  discoveryAddress: '/ip4/127.0.0.1/tcp/4/p2p/x',
};

async function peer(node = 3, role: 'node' | 'client' = 'node') {
  const ca = await createAuthority(clusterId, now);
  const { request, key } = await createRequest();
  const serial = newSerial();
  const who = role === 'node' ? { node: node as NodeNumber } : {};
  const cert = await issue(ca, request, { clusterId, role, name: 'n', ...who }, { serial, now });
  const trust: RecordTrust = { clusterId, ca: ca.cert, isRevoked: () => false, now };
  return { cert, key, serial, trust };
}

describe('discovery records', () => {
  it('come back as they were signed', async () => {
    const { cert, key, trust } = await peer();
    expect(readRecord(signRecord(record, cert, key), trust)).toEqual(record);
  });

  it('with any byte changed are refused', async () => {
    const { cert, key, trust } = await peer();
    const bytes = signRecord(record, cert, key);
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = Uint8Array.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      expect(() => readRecord(changed, trust), `byte ${at}`).toThrow(HoldfastError);
    }
    expect(() => readRecord(bytes.subarray(0, bytes.length - 1), trust)).toThrow(/malformed/);
  });

  it('of another peer, role, cluster or revoked signer are refused', async () => {
    const other = await peer(4);
    expect(() => readRecord(signRecord(record, other.cert, other.key), other.trust)).toThrow(
      /another peer/,
    );
    const client = await peer(3, 'client');
    expect(() => readRecord(signRecord(record, client.cert, client.key), client.trust)).toThrow(
      /not signed by a peer/,
    );
    const { cert, key, trust, serial } = await peer();
    const bytes = signRecord(record, cert, key);
    expect(() => readRecord(bytes, { ...trust, isRevoked: (s) => s === serial })).toThrow(
      /not signed by a peer/,
    );
    expect(() => readRecord(bytes, other.trust)).toThrow(/not of this cluster/);
    expect(() => readRecord(bytes, { ...trust, clusterId: 'ff' })).toThrow(
      expect.objectContaining({ code: 'WRONG_CLUSTER' }),
    );
  });

  it('with a foreign body under a good signature of another body are refused', async () => {
    const { cert, key, trust } = await peer();
    const good = decode<{ body: Uint8Array; cert: Uint8Array; signature: Uint8Array }>(
      signRecord(record, cert, key),
    );
    const body = encode({ v: 1, ...record, grpcAddress: 'evil:1' });
    expect(() => readRecord(encode({ ...good, body }), trust)).toThrow(/signature/);
  });
});
