/** What the driver needs of a logger; pino's satisfies it. */
export interface DriverLog {
  debug(fields: Readonly<Record<string, unknown>>): void;
  info(fields: Readonly<Record<string, unknown>>): void;
  warn(fields: Readonly<Record<string, unknown>>): void;
  error(fields: Readonly<Record<string, unknown>>): void;
}
