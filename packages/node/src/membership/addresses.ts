/** Where a peer listens, and what it tells others to dial. */
import { createServer, isIP, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { HoldfastError } from '@holdfast/protocol';

/** First of the five ports of a peer. */
export const DEFAULT_PORT = 7400;

/** What each port of a peer is for, as an offset to its first. */
export const PORT_OFFSETS = { grpc: 0, wire: 1, admin: 2, discovery: 3, probe: 4 } as const;

/** A port's use. */
export type PortName = keyof typeof PORT_OFFSETS;

/** The five ports. */
export type Ports = Readonly<Record<PortName, number>>;

/** The ports of a peer whose first is `base`. */
export function portsFrom(base: number): Ports {
  const port = (name: PortName): number => base + PORT_OFFSETS[name];
  return {
    grpc: port('grpc'),
    wire: port('wire'),
    admin: port('admin'),
    discovery: port('discovery'),
    probe: port('probe'),
  };
}

/** host:port, an IPv6 host in brackets. */
export function joinAddress(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Takes host:port apart; `defaultPort` when there is none. Throws BAD_REQUEST. */
export function splitAddress(
  address: string,
  defaultPort?: number,
): { host: string; port: number } {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+))(?::([0-9]{1,5}))?$/.exec(address.trim());
  const host = parts?.[1] ?? parts?.[2];
  const port = parts?.[3] === undefined ? defaultPort : Number(parts[3]);
  if (host === undefined || port === undefined || port < 1 || port > 65_535) {
    throw new HoldfastError(
      'BAD_REQUEST',
      `'${address}' is no address: HOST:PORT with a port from 1 to 65535, an IPv6 host in brackets`,
    );
  }
  return { host, port };
}

/**
 * Throws BAD_CONFIG for what no other host can reach this one by: not a name or an IP address, or one
 * that means all or many hosts (RFC 1122 3.2.1.3, RFC 4291 2.5.2 and 2.7).
 */
export function checkOwnAddress(address: string): void {
  const wrong = (why: string): HoldfastError =>
    new HoldfastError(
      'BAD_CONFIG',
      `--address '${address}' ${why}; give a name or an IP address that other hosts reach this one by`,
    );
  const isName = /^(?=.{1,253}$)[a-z\d_]([a-z\d_-]*[a-z\d])?(\.[a-z\d_]([a-z\d_-]*[a-z\d])?)*$/i;
  const version = isIP(address);
  if (version === 0 && !isName.test(address)) throw wrong('is no address');
  if (version === 0 && /^[\d.]+$/.test(address)) throw wrong('is no complete IPv4 address');
  const isForMany =
    version === 4
      ? address.startsWith('0.') || Number(address.split('.')[0]) >= 224
      : version === 6 && (/^[0:]+$/.test(address) || /^ff/i.test(address));
  if (isForMany) throw wrong('is not the address of one host');
}

/** A host as the beginning of a libp2p address. */
export function multiaddrHost(host: string): string {
  const version = isIP(host);
  return version === 0 ? `/dns/${host}` : `/ip${version}/${host}`;
}

/** The first address of this host that others may reach; the loopback when there is no other. */
export function firstAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outer = all.filter((address) => !address.internal && !address.address.startsWith('fe80'));
  const chosen = outer.find((address) => address.family === 'IPv4') ?? outer[0];
  return chosen?.address ?? '127.0.0.1';
}

/**
 * Throws PORT_IN_USE unless all can be listened on now, on the address that others will dial; on all
 * addresses when that one is not this host's own (a container, a NAT).
 */
export async function checkPortsFree(host: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    try {
      await tryListen(host, port);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? '';
      if (!['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN'].includes(code))
        throw listenFailure(cause, host, port);
      await tryListen('0.0.0.0', port).catch((error: unknown) => {
        throw listenFailure(error, '0.0.0.0', port);
      });
    }
  }
}

async function tryListen(host: string, port: number): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, resolve);
  });
  await new Promise((resolve) => server.close(resolve));
}

/** What to tell the user when listening failed; `flag` chose the host. */
export function listenFailure(
  cause: unknown,
  host: string,
  port: number,
  flag = '--bind',
): HoldfastError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE') {
    return new HoldfastError(
      'PORT_IN_USE',
      `port ${port} on ${host} is taken; choose five free ones with --port (HOLDFAST_PORT), or stop what uses it`,
      { cause, detail: { port } },
    );
  }
  if (code === 'EACCES') {
    return new HoldfastError(
      'BAD_CONFIG',
      `not allowed to listen on port ${port}; choose one above 1023 with --port`,
      { cause },
    );
  }
  return new HoldfastError(
    'BAD_CONFIG',
    `cannot listen on ${joinAddress(host, port)} (${code}); correct ${flag}`,
    { cause },
  );
}
