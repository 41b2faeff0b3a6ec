import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Teardown } from './teardown.ts';
import type { EventFields } from './telemetry/log.ts';

describe('Teardown', () => {
  const told: EventFields[] = [];
  const ignore = (): void => {};
  const log = {
    debug: ignore,
    info: ignore,
    error: ignore,
    warn: (fields: EventFields) => void told.push(fields),
  };

  beforeEach(() => {
    told.length = 0;
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('stops the last one first, and names those that fail or do not end', async () => {
    const stopped: string[] = [];
    const teardown = new Teardown(log);
    teardown.add('first', () => void stopped.push('first'));
    teardown.add('endless', () => new Promise(ignore));
    teardown.add('failing', () => Promise.reject(new RangeError('no')));
    teardown.add('last', () => void stopped.push('last'));
    const unwound = teardown.unwind();
    await vi.runAllTimersAsync();
    await unwound;
    expect(stopped).toEqual(['last', 'first']);
    expect(told.map(({ event, part }) => `${event} ${String(part)}`)).toEqual([
      'part.stop.failed failing',
      'part.stop.failed endless',
    ]);
  });
});
