/** The admin API: how its servers are made, who may call, and how errors look. */
import { chmod, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import type { TLSSocket } from 'node:tls';
import fastifySwagger from '@fastify/swagger';
import { HoldfastError, type TokenRole } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';
import fastify, { type FastifyRequest } from 'fastify';
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { listenFailure } from '../membership/addresses.ts';
import { verifyCertificate } from '../membership/certificates.ts';
import { checkSocketPath } from '../membership/data-directory.ts';
import { answerErrors, LIMITED } from './failures.ts';
import { type AdminOperations, type Api, addRoutes } from './routes.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Roles that may call the route besides the local administrator; all of them when absent. */
    readonly roles?: readonly TokenRole[];
  }
}

/** A listening server. */
export interface Listening {
  close(): Promise<void>;
}

/** Who may call over TLS. */
export interface TlsAccess {
  readonly tls: TlsMaterial;
  readonly clusterId: string;
  readonly isRevoked: (serial: string) => boolean;
}

/** The API for hosts with a certificate of the cluster. Throws PORT_IN_USE, BAD_CONFIG. */
export async function listenTls(
  operations: AdminOperations,
  access: TlsAccess,
  at: { readonly host: string; readonly port: number },
): Promise<Listening & { renew(tls: TlsMaterial): void }> {
  const { ca, cert, key } = access.tls;
  const https = {
    ca,
    cert,
    key,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
  } as const;
  const server = fastify({ ...LIMITED, https });
  const api = server.withTypeProvider<ZodTypeProvider>() as unknown as Api;
  await complete(api, operations, (request) => roleByCertificate(request, access));
  try {
    await api.listen(at);
  } catch (cause) {
    throw listenFailure(cause, at.host, at.port);
  }
  const renew = (tls: TlsMaterial): void =>
    server.server.setSecureContext({ ca: tls.ca, cert: tls.cert, key: tls.key });
  return { close: () => api.close(), renew };
}

/** The API for the local administrator: whoever may open the socket, which is root. Throws PORT_IN_USE, BAD_CONFIG. */
export async function listenSocket(operations: AdminOperations, path: string): Promise<Listening> {
  await claimSocket(path);
  const api = fastify(LIMITED).withTypeProvider<ZodTypeProvider>();
  await complete(api as unknown as Api, operations, () => 'admin');
  try {
    await api.listen({ path });
    await chmod(path, 0o600);
  } catch (cause) {
    throw new HoldfastError(
      'BAD_CONFIG',
      `cannot listen on ${path}; name another data directory with --data`,
      { cause },
    );
  }
  return { close: () => api.close() };
}

/** Removes the socket of a process that died; one that is served is left alone. */
async function claimSocket(path: string): Promise<void> {
  checkSocketPath(path);
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  if (!isThere) return;
  const isServed = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (isServed)
    throw new HoldfastError('PORT_IN_USE', `another process serves ${path}; stop it first`);
  await rm(path, { force: true });
}

async function complete(
  api: Api,
  operations: AdminOperations,
  roleOf: (request: FastifyRequest) => TokenRole,
): Promise<void> {
  api.setValidatorCompiler(validatorCompiler);
  api.setSerializerCompiler(serializerCompiler);
  answerErrors(api, 'see /v1/openapi.json');
  takeEmptyBodies(api);
  api.addHook('onRequest', async (request) => {
    const { roles } = request.routeOptions.config;
    const role = roleOf(request);
    if (roles !== undefined && !roles.includes(role)) {
      throw new HoldfastError(
        'FORBIDDEN',
        `role ${role} may not do this; it takes ${roles.join(' or ')}`,
      );
    }
  });
  await api.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Holdfast admin API',
        version: '1',
        description: 'Peers, volumes and tokens of a Holdfast cluster.',
      },
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
  await addRoutes(api, operations);
  await api.ready();
}

/** Many clients name JSON as the type of every request: a body that a route needs is missed by its schema. */
function takeEmptyBodies(api: Api): void {
  const parse = api.getDefaultJsonParser('error', 'error');
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, body as string, done); // it answers by the callback
  });
}

function roleByCertificate(request: FastifyRequest, access: TlsAccess): TokenRole {
  const { raw } = (request.raw.socket as TLSSocket).getPeerCertificate();
  const peer = verifyCertificate(access.tls.ca, raw, Date.now());
  if (access.isRevoked(peer.serial))
    throw new HoldfastError('FORBIDDEN', `the certificate of '${peer.name}' was revoked`);
  return peer.role;
}
