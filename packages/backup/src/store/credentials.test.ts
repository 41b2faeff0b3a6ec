import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { credentialChain } from './credentials.ts';

const DOCUMENT = { AccessKeyId: 'id', SecretAccessKey: 'secret', Token: 'token' };

describe('the credential chain', () => {
  let root: string;
  let server: Server;
  let base: string;
  let asked = 0;
  let expiresMs = Date.parse('2030-01-01T01:00:00Z');
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-credentials-'));
    server = createServer(({ method, url, headers }, response) => {
      const document = JSON.stringify({
        ...DOCUMENT,
        Expiration: new Date(expiresMs).toISOString(),
      });
      const isTrusted = headers['x-aws-ec2-metadata-token'] === 'session';
      if (method === 'PUT' && url === '/latest/api/token') response.end('session');
      else if (url === '/container' && headers.authorization === 'letmein') response.end(document);
      else if (url === '/latest/meta-data/iam/security-credentials/' && isTrusted)
        response.end('role\n');
      else if (url === '/latest/meta-data/iam/security-credentials/role' && isTrusted) {
        asked++;
        response.end(document);
      } else response.writeHead(401).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await writeFile(
      join(root, 'credentials'),
      '[default]\naws_access_key_id = A\naws_secret_access_key = B=\n\n[backup]\r\naws_access_key_id=C\r\naws_secret_access_key=D\r\naws_session_token=E\r\n',
    );
  });
  afterAll(async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(root, { recursive: true, force: true });
  });

  it('asks the environment, then the file, then the container, then the machine', async () => {
    const none = {
      AWS_SHARED_CREDENTIALS_FILE: join(root, 'none'),
      AWS_EC2_METADATA_DISABLED: 'true',
    };
    const file = { ...none, AWS_SHARED_CREDENTIALS_FILE: join(root, 'credentials') };
    const keys = { AWS_ACCESS_KEY_ID: 'X', AWS_SECRET_ACCESS_KEY: 'Y' };
    expect(await credentialChain({ ...file, ...keys })()).toEqual({
      accessKeyId: 'X',
      secretAccessKey: 'Y',
    });
    expect(await credentialChain(file)()).toEqual({ accessKeyId: 'A', secretAccessKey: 'B=' });
    expect(await credentialChain({ ...file, AWS_PROFILE: 'backup' })()).toEqual({
      accessKeyId: 'C',
      secretAccessKey: 'D',
      sessionToken: 'E',
    });
    const container = {
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${base}/container`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'letmein',
    };
    expect(await credentialChain({ ...none, ...container })()).toMatchObject({
      accessKeyId: 'id',
      sessionToken: 'token',
    });
    await expect(credentialChain(none)()).rejects.toMatchObject({ code: 'BAD_CONFIG' });
  });

  it('keeps what expires until shortly before its end', async () => {
    let nowMs = Date.parse('2030-01-01T00:00:00Z');
    const env = {
      AWS_SHARED_CREDENTIALS_FILE: join(root, 'none'),
      AWS_EC2_METADATA_SERVICE_ENDPOINT: base,
    };
    const source = credentialChain(env, () => nowMs);
    expect(await source()).toMatchObject({ accessKeyId: 'id', expiresMs });
    nowMs += 54 * 60_000;
    await source();
    expect(asked).toBe(1);
    nowMs += 2 * 60_000;
    expiresMs += 3_600_000;
    expect(await source()).toMatchObject({ expiresMs });
    expect(asked).toBe(2);
  });
});
