import { get, request } from 'node:http';
import { text } from 'node:stream/consumers';

/** An answer as the engine gets it. */
export interface PluginAnswer {
  readonly status: number | undefined;
  readonly contentType: string | undefined;
  readonly body: Record<string, unknown>;
}

/** Calls a plugin as the engine does: POST, JSON, no content type. `document` undefined: no body. */
export function callPlugin(
  socketPath: string,
  call: string,
  document?: unknown,
): Promise<PluginAnswer> {
  return sendToPlugin(socketPath, call, document === undefined ? '' : JSON.stringify(document));
}

/** As {@link callPlugin}, with any bytes for a body. */
export function sendToPlugin(
  socketPath: string,
  call: string,
  body: string,
): Promise<PluginAnswer> {
  const headers = {
    accept: 'application/vnd.docker.plugins.v1.2+json',
    host: 'plugin.moby.localhost',
    'content-length': Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: call, method: 'POST', headers }, (response) => {
      const contentType = response.headers['content-type'];
      text(response)
        .then((answer) => JSON.parse(answer) as Record<string, unknown>)
        .then((parsed) => resolve({ status: response.statusCode, contentType, body: parsed }))
        .catch(reject);
    });
    asked.once('error', reject);
    asked.end(body);
  });
}

/** What the driver serves to people and monitors at this path. */
export function readPlugin(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = get({ socketPath, path }, (response) => {
      text(response).then(resolve, reject);
    });
    asked.once('error', reject);
  });
}
