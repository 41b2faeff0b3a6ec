import type { DriverLog } from '../log.ts';

/** A log that keeps its events, for tests. */
export class QuietLog implements DriverLog {
  readonly events: string[] = [];

  debug(fields: Readonly<Record<string, unknown>>): void {
    this.events.push(String(fields['event']));
  }

  info = this.debug.bind(this);
  warn = this.debug.bind(this);
  error = this.debug.bind(this);
}
