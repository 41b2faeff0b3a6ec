/**
 * The cluster's own certificate authority: ECDSA P-256, one level. A certificate says who its holder
 * is by a URI in its subject alternative name: holdfast://<cluster id>/node/<number>,
 * …/client/<name>, …/admin/<name>.
 */
import 'reflect-metadata';
import {
  createHash,
  createPublicKey,
  hkdfSync,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { HoldfastError, type NodeNumber, type TokenRole } from '@holdfast/protocol';
import type { PeerIdentity } from '@holdfast/wire';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
/** Clocks of hosts that join may be behind ours by this much. */
const CLOCK_SKEW_MS = DAY_MS / 24;
const AUTHORITY_VALID_MS = 20 * 365 * DAY_MS;
/** A certificate lives so long; its holder renews it when a third is left. */
export const CERTIFICATE_VALID_MS = 365 * DAY_MS;

x509.cryptoProvider.set(webcrypto);

/** A certificate and its private key (PKCS #8), both PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** Whom a certificate is for. */
export interface CertificateSubject {
  readonly clusterId: string;
  readonly role: TokenRole;
  /** Only of role node. */
  readonly node?: NodeNumber;
  readonly name: string;
  /** Host names and IP addresses at which TLS clients that check them (curl, Prometheus) will look. */
  readonly hosts?: readonly string[];
}

/** Makes a cluster's authority. */
export async function createAuthority(clusterId: string, now: number): Promise<KeyPair> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `CN=Holdfast cluster ${clusterId}`,
    notBefore: new Date(now - CLOCK_SKEW_MS),
    notAfter: new Date(now + AUTHORITY_VALID_MS),
    signingAlgorithm: ALGORITHM,
    keys: keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: clusterUri(clusterId) }]),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key: await exportKey(keys.privateKey) };
}

/** Makes a key and a request for a certificate of it. What the request says of its holder is not believed. */
export async function createRequest(): Promise<{ readonly request: string; readonly key: string }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  return { request: await requestOf(keys), key: await exportKey(keys.privateKey) };
}

/** A request for another certificate of a key at hand: renewal changes one file only. */
export async function renewalRequest(key: string): Promise<string> {
  const privateDer = x509.PemConverter.decodeFirst(key);
  const publicDer = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const { subtle } = webcrypto;
  const privateKey = await subtle.importKey('pkcs8', privateDer, ALGORITHM, false, ['sign']);
  const publicKey = await subtle.importKey('spki', publicDer, ALGORITHM, true, ['verify']);
  return requestOf({ privateKey, publicKey });
}

async function requestOf(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=holdfast',
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return request.toString('pem');
}

/**
 * Signs a request. `serial` is hexadecimal, from {@link newSerial}. The answer is a chain of two: the
 * certificate and the authority's own, which a joining host compares with its token's digest. Throws
 * BAD_REQUEST on a malformed request.
 */
export async function issue(
  authority: KeyPair,
  request: string,
  subject: CertificateSubject,
  options: { readonly serial: string; readonly now: number; readonly validMs?: number },
): Promise<string> {
  const publicKey = await verifiedKey(request);
  const issuer = new x509.X509Certificate(authority.cert);
  const der = x509.PemConverter.decodeFirst(authority.key);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign']);
  const usages = [x509.ExtendedKeyUsage.clientAuth];
  if (subject.role === 'node') usages.push(x509.ExtendedKeyUsage.serverAuth);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: options.serial,
    subject: [{ CN: [subject.name] }],
    issuer: issuer.subject,
    notBefore: new Date(options.now - CLOCK_SKEW_MS),
    notAfter: new Date(options.now + (options.validMs ?? CERTIFICATE_VALID_MS)),
    signingKey,
    publicKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages),
      new x509.SubjectAlternativeNameExtension(alternativeNames(subject)),
    ],
  });
  return `${certificate.toString('pem')}\n${authority.cert}`;
}

async function verifiedKey(request: string): Promise<x509.PublicKey> {
  let parsed: x509.Pkcs10CertificateRequest;
  try {
    parsed = new x509.Pkcs10CertificateRequest(request);
  } catch (cause) {
    throw new HoldfastError('BAD_REQUEST', 'the certificate request is malformed', { cause });
  }
  if (!(await parsed.verify())) {
    throw new HoldfastError('BAD_REQUEST', 'the certificate request is not signed by its own key');
  }
  const algorithm = parsed.publicKey.algorithm as { name: string; namedCurve?: string };
  if (algorithm.name !== 'ECDSA' || algorithm.namedCurve !== 'P-256') {
    throw new HoldfastError('BAD_REQUEST', 'only keys of ECDSA P-256 get certificates');
  }
  return parsed.publicKey;
}

function alternativeNames(subject: CertificateSubject): x509.JsonGeneralName[] {
  const who = subject.role === 'node' ? String(subject.node) : encodeURIComponent(subject.name);
  const uri = `${clusterUri(subject.clusterId)}/${subject.role}/${who}`;
  const names: x509.JsonGeneralName[] = [{ type: 'url', value: uri }];
  for (const host of new Set(subject.hosts)) {
    names.push({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host });
  }
  return names;
}

function clusterUri(clusterId: string): string {
  return `holdfast://${clusterId}`;
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

/** A serial number: 16 random bytes as lower-case hexadecimal, positive and without leading zero. */
export function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

/** Whether {@link newSerial} may have made it. */
export function isSerial(text: string): boolean {
  return /^[4-7][0-9a-f]{31}$/.test(text);
}

/** SHA-256 of a certificate's DER, 64 lower-case hexadecimal digits: what tokens name the cluster by. */
export function certificateDigest(pem: string): string {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');
}

/** What a certificate says, unverified. Throws BAD_REQUEST when it is none of Holdfast's. */
export function describeCertificate(pem: string | Buffer): {
  readonly identity: PeerIdentity;
  readonly notBefore: Date;
  readonly notAfter: Date;
} {
  const certificate = parsed(pem, 'BAD_REQUEST');
  const uri = /URI:holdfast:\/\/([0-9a-f]+)\/(node|client|admin)\/([^\s,]+)/.exec(
    certificate.subjectAltName ?? '',
  );
  if (uri === null) {
    throw new HoldfastError(
      'BAD_REQUEST',
      'the certificate does not name a role in a Holdfast cluster',
    );
  }
  const [, clusterId = '', role = '', who = ''] = uri;
  const name = /^CN=(.*)$/m.exec(certificate.subject)?.[1] ?? who;
  const node = role === 'node' ? { node: Number(who) as NodeNumber } : {};
  const serial = certificate.serialNumber.toLowerCase();
  return {
    identity: { clusterId, role: role as TokenRole, name, serial, ...node },
    notBefore: certificate.validFromDate,
    notAfter: certificate.validToDate,
  };
}

/**
 * The identity in a certificate (PEM or DER) after checking that the cluster's authority signed it
 * and that it is valid at `now`. That the peer holds its key is TLS's to check. Throws FORBIDDEN.
 */
export function verifyCertificate(
  ca: string,
  certificate: Buffer | string,
  now: number,
): PeerIdentity {
  const authority = new X509Certificate(ca);
  const own = parsed(certificate, 'FORBIDDEN');
  if (!own.checkIssued(authority) || !own.verify(authority.publicKey)) {
    throw new HoldfastError('FORBIDDEN', 'the certificate is not of this cluster');
  }
  const { identity, notBefore, notAfter } = describeCertificate(Buffer.from(own.raw));
  if (now < notBefore.getTime() || now > notAfter.getTime()) {
    throw new HoldfastError(
      'FORBIDDEN',
      `the certificate of '${identity.name}' is valid from ${notBefore.toISOString()} to ${notAfter.toISOString()} only`,
    );
  }
  return identity;
}

function parsed(certificate: Buffer | string, code: 'BAD_REQUEST' | 'FORBIDDEN'): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch (cause) {
    throw new HoldfastError(code, 'the certificate is malformed', { cause });
  }
}

/** Whether a certificate has used up two thirds of its life. */
export function isDueForRenewal(pem: string, now: number): boolean {
  const { notBefore, notAfter } = describeCertificate(pem);
  const left = notAfter.getTime() - now;
  return left * 3 < notAfter.getTime() - notBefore.getTime();
}

/**
 * 32 bytes that every holder of the authority's key knows and nobody else: peers, not clients.
 * `purpose` separates uses.
 */
export function authoritySecret(authority: KeyPair, purpose: string): Buffer {
  const der = Buffer.from(x509.PemConverter.decodeFirst(authority.key));
  return Buffer.from(hkdfSync('sha256', der, '', `holdfast ${purpose} v1`, 32));
}
