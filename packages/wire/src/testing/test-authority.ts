import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsMaterial } from '../identity.ts';

/** A certificate authority made with openssl, for tests of connections only. */
export class TestAuthority {
  readonly clusterId: string;
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-test-ca-'));

  constructor(clusterId: string) {
    this.clusterId = clusterId;
    this.#openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
    );
  }

  /** A certificate with the URI of a role and name; of another cluster when asked. */
  issue(role: string, name: string, clusterId = this.clusterId, days = 2): TlsMaterial {
    const path = (file: string): string => join(this.#directory, file);
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    run([
      'req',
      '-new',
      ...curve,
      '-keyout',
      path('key'),
      '-out',
      path('csr'),
      '-subj',
      `/CN=${name}`,
    ]);
    const uri = `subjectAltName=URI:holdfast://${clusterId}/${role}/${name}\nextendedKeyUsage=serverAuth,clientAuth\n`;
    writeFileSync(path('extensions'), uri);
    const by = [
      '-CA',
      path('ca.cert'),
      '-CAkey',
      path('ca.key'),
      '-CAcreateserial',
      '-days',
      `${days}`,
    ];
    run([
      'x509',
      '-req',
      '-in',
      path('csr'),
      ...by,
      '-extfile',
      path('extensions'),
      '-out',
      path('cert'),
    ]);
    const text = (file: string): string => readFileSync(path(file), 'utf8');
    return { ca: text('ca.cert'), cert: text('cert'), key: text('key') };
  }

  close(): void {
    rmSync(this.#directory, { recursive: true });
  }

  #openssl(...args: string[]): void {
    const key = join(this.#directory, 'ca.key');
    run([
      ...args,
      '-keyout',
      key,
      '-out',
      join(this.#directory, 'ca.cert'),
      '-subj',
      '/CN=test authority',
    ]);
  }
}

function run(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
