import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes of bodies after which what died young is collected: half of what makes V8 collect all. */
const BYTES_BETWEEN = 8 * 2 ** 20;

let bytes = 0;
let collect: (() => void) | undefined;

/**
 * Counts a body that came or went, and has V8 collect young objects once in a while. A body's bytes
 * lie outside V8's heap: they never make it collect young objects, which takes a millisecond, but
 * after 32 MiB of them it marks the whole heap, which took two thirds of a peer's processor time.
 */
export function bodyPassed(length: number): void {
  bytes += length;
  if (bytes < BYTES_BETWEEN) return;
  bytes = 0;
  collect ??= collector();
  setImmediate(collect);
}

/** V8's own function, which it shows only to contexts that are made while the flag is set. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  if (typeof gc !== 'function') return () => {};
  return () => {
    Reflect.apply(gc, undefined, [{ type: 'minor' }]);
  };
}
