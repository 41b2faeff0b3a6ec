/**
 * Loaded before a program (`node --import`): its wall clock is ahead by as many milliseconds as the
 * file named by TEST_CLOCK_FILE says, so that a test need not wait for the hour.
 */
import { readFileSync } from 'node:fs';

const LOOK_MS = 20;
const path = process.env['TEST_CLOCK_FILE'];
const RealDate = Date;
let aheadMs = 0;

function look(): void {
  const text = path === undefined ? '' : readFileSync(path, 'utf8');
  if (/^\d+$/.test(text)) aheadMs = Number(text);
}

class MovedDate extends RealDate {
  constructor(...parts: readonly unknown[]) {
    super(...((parts.length === 0 ? [MovedDate.now()] : parts) as [number]));
  }

  static override now(): number {
    return RealDate.now() + aheadMs;
  }
}

look();
setInterval(look, LOOK_MS).unref();
globalThis.Date = MovedDate as DateConstructor;
