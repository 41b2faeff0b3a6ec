import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { type Finding, finding } from './finding.ts';

/** Milliseconds for one answer; the driver itself waits 4 s for the cluster. */
const ANSWER_MS = 10_000;
/** Characters of an answer that are looked at: an error stands at its beginning. */
const ANSWER_CHARACTERS_MAX = 65_536;

/** The sockets of both sides. */
export interface DriverSockets {
  readonly driver: string;
  readonly engine: string;
}

/** Whether the Docker volume driver of this host answers, as the engine would ask it. */
export async function checkDriver(
  { driver, engine }: DriverSockets,
  limitMs: number = ANSWER_MS,
): Promise<Finding> {
  const check = 'volume driver';
  if (!existsSync(driver)) {
    const hasEngine = existsSync(engine);
    const wrong = `no ${driver}: containers cannot use volumes; start 'holdfast run', or 'holdfast volume-driver' alone`;
    return finding(check, !hasEngine, 'not needed: no Docker Engine here', wrong);
  }
  const trouble = await troubleWith(driver, limitMs);
  return finding(check, trouble === undefined, `answers at ${driver}`, trouble ?? '');
}

/** Asks for the list of volumes, which changes nothing; undefined when it was answered well. */
function troubleWith(socketPath: string, limitMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(limitMs);
    const options = { socketPath, method: 'POST', path: '/VolumeDriver.List', signal };
    const fail = (error: Error): void => resolve(why(socketPath, error, signal.aborted, limitMs));
    const asked = request(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        if (text.length < ANSWER_CHARACTERS_MAX) text += part;
      });
      response.on('error', fail);
      response.on('end', () => resolve(judged(socketPath, response.statusCode ?? 0, text)));
    });
    asked.on('error', fail);
    asked.end('{}');
  });
}

function judged(socketPath: string, status: number, text: string): string | undefined {
  const error = /^\{"Err":"((?:[^"\\]|\\.)+)"/.exec(text)?.[1];
  if (error !== undefined) return `it says: ${error}`;
  if (status === 200 && text.startsWith('{"Volumes":')) return undefined;
  return `what answers at ${socketPath} is no volume driver (status ${status}); stop it`;
}

function why(socketPath: string, error: Error, isLate: boolean, limitMs: number): string {
  if (isLate)
    return `no answer at ${socketPath} for ${limitMs / 1000} s; start the volume driver again`;
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED')
    return `nobody listens at ${socketPath}: the driver was killed, and the engine hangs on it; start 'holdfast run' again, or remove that file`;
  if (code === 'EACCES') return `no right to ask at ${socketPath}; run as root`;
  return `${socketPath} does not answer (${code ?? error.message}); start the volume driver again`;
}
