import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../testing/peers.ts';
import { KnownPaths } from './known-paths.ts';

interface Answer {
  readonly status: number;
  readonly allow: string | undefined;
  readonly body: Record<string, unknown>;
}

interface Operation {
  readonly requestBody?: unknown;
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}

let cluster: TestCluster;
let document: { readonly paths: Record<string, Record<string, Operation>> };
beforeAll(async () => {
  cluster = await TestCluster.begin();
  document = (await call('GET', '/v1/openapi.json')).body as never;
}, 60_000);
afterAll(() => cluster?.close(), 60_000);

function call(
  method: string,
  path: string,
  text?: string,
  type = 'application/json',
): Promise<Answer> {
  const headers = text === undefined ? {} : { 'content-type': type };
  const socketPath = join(cluster.data('n1'), 'admin.sock');
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, headers }, (response) => {
      let answer = '';
      response.on('data', (part: Buffer) => {
        answer += part.toString();
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          allow: response.headers.allow,
          body: JSON.parse(answer) as Record<string, unknown>,
        }),
      );
    });
    request.on('error', reject);
    request.end(text);
  });
}

interface Route {
  readonly method: string;
  /** With something in place of its parameters. */
  readonly path: string;
  readonly operation: Operation;
}

/** Those of the cluster; probes take anything and answer. */
function routes(): Route[] {
  return Object.entries(document.paths).flatMap(([pattern, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path: pattern.replaceAll(/\{[^}]*\}/g, '1'),
      operation,
    })),
  );
}

const failure = (code: string): unknown => ({
  code,
  message: expect.stringMatching(/.{5}/),
  detail: expect.any(Object),
});

describe('the document of the admin API', () => {
  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    const result = await validator.validate(structuredClone(document) as Record<string, unknown>);
    expect(result).toMatchObject({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('has the body of success and of failure for every route', () => {
    const cluster = routes().filter(({ path }) => path.startsWith('/v1/'));
    expect(cluster).toHaveLength(27);
    for (const { method, path, operation } of cluster) {
      const schemas = ['200', '4XX', '5XX'].map(
        (status) => operation.responses[status]?.content?.['application/json']?.schema,
      );
      const failed = { $ref: '#/components/schemas/Failure' };
      expect(schemas, `${method} ${path}`).toEqual([expect.any(Object), failed, failed]);
    }
  });
});

describe('bad input over HTTP', () => {
  it('is refused by every route that gets a query it does not know', async () => {
    for (const { method, path, operation } of routes()) {
      if (!path.startsWith('/v1/')) continue;
      const body = operation.requestBody === undefined ? undefined : '{"name":"a","policy":{}}';
      expect(await call(method, `${path}?colour=red`, body), `${method} ${path}`).toMatchObject({
        status: 400,
        body: failure('BAD_REQUEST'),
      });
    }
  });

  it.each([
    ['an unknown field', '{"name":"a","policy":{},"role":"node","colour":1}', 400, 'BAD_REQUEST'],
    ['wrong types', '{"name":5,"policy":7,"role":9}', 400, 'BAD_REQUEST'],
    ['a list', '[]', 400, 'BAD_REQUEST'],
    ['null', 'null', 400, 'BAD_REQUEST'],
    ['text that is no JSON', '{"name":', 400, 'BAD_REQUEST'],
    ['no text', '', 400, 'BAD_REQUEST'],
    ['too much', `{"name":"${'x'.repeat(70_000)}"}`, 413, 'TOO_LARGE'],
  ] as const)('is refused by every route whose body is %s', async (_what, text, status, code) => {
    const withBody = routes().filter(({ operation }) => operation.requestBody !== undefined);
    expect(withBody).toHaveLength(7);
    for (const { method, path } of withBody) {
      expect(await call(method, path, text), `${method} ${path}`).toMatchObject({
        status,
        body: failure(code),
      });
    }
  });

  it('is not an empty body of a route that takes none, whatever type it is said to have', async () => {
    await call('POST', '/v1/volumes', '{"name":"empty","policy":{}}');
    expect(await call('DELETE', '/v1/volumes/empty', '')).toMatchObject({ status: 200 });
    expect(await call('DELETE', '/v1/volumes/empty', '{')).toMatchObject({ status: 400 });
  });

  it('is told where, and what a body is', async () => {
    const message = async (text: string, type?: string) =>
      (await call('POST', '/v1/volumes', text, type)).body['message'];
    expect(await message('null')).toMatch(/^body: /);
    expect(await message('{"name":"a","policy":{"mode":"x"}}')).toMatch(/^body\.policy\.mode: /);
    expect(await message('<a/>', 'text/xml')).toMatch(/content-type: application\/json/);
  });

  it('is told which methods a path takes, on every path', async () => {
    for (const [pattern, operations] of Object.entries(document.paths)) {
      const answer = await call('PUT', pattern.replaceAll(/\{[^}]*\}/g, '1'));
      expect(answer, pattern).toMatchObject({ status: 405, body: failure('METHOD_NOT_ALLOWED') });
      for (const method of Object.keys(operations))
        expect(answer.allow?.split(', ')).toContain(method.toUpperCase());
    }
  });

  it.each(['/', '/v1', '/v1/nodes/1/2', '/v1/volumes/', '/v2/status', '/v1/%zz'])(
    'is refused at the unknown path %s',
    async (path) => {
      const { status, body } = await call('GET', path);
      expect([400, 404]).toContain(status);
      expect(body).toEqual(failure(status === 404 ? 'NOT_FOUND' : 'BAD_REQUEST'));
    },
  );
});

describe('known paths', () => {
  it('match a pattern part by part, with something for each parameter', () => {
    const known = new KnownPaths();
    known.add('/v1/nodes/:number', ['GET', 'HEAD']);
    known.add('/v1/nodes/:number', ['DELETE']);
    expect(known.methodsOf('/v1/nodes/7')).toEqual(['DELETE', 'GET', 'HEAD']);
    for (const path of ['/v1/nodes/', '/v1/nodes', '/v1/nodes/7/8', '/v2/nodes/7'])
      expect(known.methodsOf(path)).toEqual([]);
  });
});
