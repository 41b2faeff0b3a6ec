/** What orchestrators and Prometheus ask: is it alive, is it ready, how is it. */
import fastify, { type FastifyInstance } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { Registry } from 'prom-client';
import { z } from 'zod';
import { listenFailure } from '../membership/addresses.ts';
import type { StatusReason } from '../membership/status.ts';
import { answerErrors, LIMITED } from './failures.ts';
import type { Api } from './routes.ts';
import { ALIVE, READY } from './schemas.ts';
import type { Listening } from './server.ts';

/** What the probes ask the peer. */
export interface ProbeOperations {
  /** Why the peer cannot serve now; empty when it can. */
  readonly notReady: () => readonly StatusReason[];
  readonly metrics: Registry;
}

type AnyServer = Pick<FastifyInstance, 'get'>;

const tags = ['probes'];
const ALIVE_ROUTE = { summary: 'Does the process run', tags, response: { 200: ALIVE } };
const READY_ROUTE = {
  summary: 'Can the peer do its work now',
  tags,
  response: { 200: READY, 503: READY },
};
const METRICS_ROUTE = {
  summary: 'Metrics in the text format of Prometheus',
  tags,
  produces: ['text/plain'],
  response: { 200: z.string() },
};

/** Adds /healthz, /readyz and /metrics. */
export function addProbes(server: AnyServer, { notReady, metrics }: ProbeOperations): void {
  server.get('/healthz', { schema: ALIVE_ROUTE }, () => ({ alive: true }));
  server.get('/readyz', { schema: READY_ROUTE }, (_request, reply) => {
    const reasons = notReady();
    return reply
      .code(reasons.length === 0 ? 200 : 503)
      .send({ ready: reasons.length === 0, reasons });
  });
  server.get('/metrics', { schema: METRICS_ROUTE }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.metrics()),
  );
}

/** The probes alone, in plain HTTP, for those on the same host that have no certificate. Throws PORT_IN_USE, BAD_CONFIG. */
export async function listenProbes(
  operations: ProbeOperations,
  at: { readonly host: string; readonly port: number },
): Promise<Listening> {
  const server = fastify(LIMITED);
  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(serializerCompiler);
  answerErrors(server as unknown as Api, 'there are /healthz, /readyz and /metrics');
  addProbes(server, operations);
  try {
    await server.listen(at);
  } catch (cause) {
    throw listenFailure(cause, at.host, at.port, '--probe-bind');
  }
  return { close: () => server.close() };
}
