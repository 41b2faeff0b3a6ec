import { ERROR_TABLE, HoldfastError } from '@holdfast/protocol';
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import { z } from 'zod';
import type { VolumeDriver } from './driver.ts';
import type { DriverLog } from './log.ts';
import type { DriverMetrics } from './metrics.ts';

/** The plugin protocol's own media type; the engine sends none. */
const MEDIA_TYPE = 'application/vnd.docker.plugins.v1.2+json';

/** Bytes of a request: a name, an id, a handful of options. */
const REQUEST_BYTES_MAX = 256 * 1024;

const nothing = z.object({});
const named = z.object({ Name: z.string() });
const mounting = named.extend({ ID: z.string() });
const creating = named.extend({ Opts: z.record(z.string(), z.string()).nullish() });

/** What {@link pluginServer} serves. */
export interface PluginParts {
  readonly driver: VolumeDriver;
  readonly metrics: DriverMetrics;
  readonly log: DriverLog;
  /** A new engine has introduced itself. */
  readonly onActivate: () => void;
}

/**
 * The HTTP side of Docker's plugin protocol (docs.docker.com/engine/extend/plugins_volume): POST with
 * a JSON body and no content type, answered by 200 with JSON; what went wrong is said in `Err`.
 * Beside it /healthz and /metrics, for people and monitors on the same socket.
 */
export function pluginServer(parts: PluginParts): FastifyInstance {
  const server = fastify({ bodyLimit: REQUEST_BYTES_MAX, logger: false });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) =>
    done(null, body),
  );
  addCalls(server, parts);
  server.get('/healthz', () => ({ status: 'ok' }));
  server.get('/metrics', async (_request, reply) => {
    return reply.type(parts.metrics.contentType).send(await parts.metrics.text());
  });
  server.setNotFoundHandler((request, reply) => {
    return answer(reply.code(404), { Err: `holdfast: no call ${request.url}` });
  });
  server.setErrorHandler((error, _request, reply) => answer(reply, { Err: errorText(error) }));
  return server;
}

function addCalls(
  server: FastifyInstance,
  { driver, metrics, log, onActivate }: PluginParts,
): void {
  /** One call of the protocol: its name, what its body must hold, and its answer. */
  const call = <T>(path: string, schema: z.ZodType<T>, act: (request: T) => unknown): void => {
    server.post(path, async (request, reply) => {
      const done = metrics.begin(path);
      try {
        const body = typeof request.body === 'string' ? request.body : '';
        const document = (await act(parseBody(body, schema))) as object | undefined;
        done('ok');
        return answer(reply, document ?? {});
      } catch (error) {
        const code = error instanceof HoldfastError ? error.code : 'INTERNAL';
        done(code);
        // A Get of an unknown volume comes before every Create and is no event.
        if (code !== 'NOT_FOUND')
          log.warn({ event: 'call.failed', path, code, reason: String(error) });
        throw error;
      }
    });
  };
  call('/Plugin.Activate', nothing, () => {
    onActivate();
    return { Implements: ['VolumeDriver'] };
  });
  call('/VolumeDriver.Capabilities', nothing, () => ({ Capabilities: { Scope: 'global' } }));
  call('/VolumeDriver.List', nothing, async () => ({ Volumes: await driver.list() }));
  call('/VolumeDriver.Get', named, async ({ Name }) => ({ Volume: await driver.get(Name) }));
  call('/VolumeDriver.Path', named, ({ Name }) => ({ Mountpoint: driver.path(Name) }));
  call('/VolumeDriver.Create', creating, ({ Name, Opts }) => driver.create(Name, Opts ?? {}));
  call('/VolumeDriver.Remove', named, ({ Name }) => driver.remove(Name));
  call('/VolumeDriver.Unmount', mounting, ({ Name, ID }) => driver.unmount(Name, ID));
  call('/VolumeDriver.Mount', mounting, async ({ Name, ID }) => {
    return { Mountpoint: await driver.mount(Name, ID) };
  });
}

/**
 * The engine repeats a call whose connection broke with an empty body, because it has read the
 * request's buffer already. Such a call names nothing and must do nothing.
 */
function parseBody<T>(body: string, schema: z.ZodType<T>): T {
  let document: unknown = {};
  try {
    if (body !== '') document = JSON.parse(body);
  } catch (cause) {
    throw new HoldfastError('BAD_REQUEST', 'the request is not JSON', { cause });
  }
  const parsed = schema.safeParse(document);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'the body'}: ${message}`,
  );
  const empty = 'the request came without its body, after a broken connection: try again';
  throw new HoldfastError('BAD_REQUEST', body === '' ? empty : wrong.join('; '));
}

/** 200 with Err, so that the engine shows the text alone, without its own words about statuses. */
function answer(reply: FastifyReply, document: object): FastifyReply {
  // Every call has a connection of its own: one kept open would break at a restart of the driver,
  // and the engine would repeat the next call on it with an empty body.
  return reply.header('connection', 'close').type(MEDIA_TYPE).send(JSON.stringify(document));
}

function errorText(error: unknown): string {
  if (error instanceof HoldfastError) return `holdfast: ${error.message}`;
  const text = error instanceof Error ? error.message : String(error);
  return `holdfast: ${ERROR_TABLE.INTERNAL.meaning}: ${text}`;
}
