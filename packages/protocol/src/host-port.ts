/** HOST:PORT taken apart, an IPv6 host in brackets, the port 0 … 65535; undefined when it is none. */
export function parseHostPort(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const [host, port] = [match?.[1] ?? match?.[2], Number(match?.[3])];
  return host === undefined || !(port <= 65_535) ? undefined : { host, port };
}
