/** Structured lines on standard error: an event's name (noun.verb) and fields with units, no sentences. */
import { type Logger, pino } from 'pino';

/** Fields of one event; `event` is its name. */
export type EventFields = { readonly event: string } & Readonly<Record<string, unknown>>;

/** What parts log with. error: a promise is endangered; warn: repaired by itself; info: an operator would ask; debug: the rest. */
export interface Log {
  debug(fields: EventFields): void;
  info(fields: EventFields): void;
  warn(fields: EventFields): void;
  error(fields: EventFields): void;
}

/** A log on standard error, JSON line by line, from `level` up. */
export function createLog(level: string): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describe },
    },
    // Synchronous: the last lines before a crash are the ones that matter.
    pino.destination({ dest: 2, sync: true }),
  );
}

/** Errors as code, message and cause: what a reader of logs can search for. */
function describe(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { message, cause } = error;
  const code = (error as { code?: unknown }).code;
  const stack = code === undefined || code === 'INTERNAL' ? { stack: error.stack } : {};
  return { code, message, ...stack, ...(cause instanceof Error ? { cause: describe(cause) } : {}) };
}
