import { HoldfastError } from '@holdfast/protocol';

const POWERS: Readonly<Record<string, number>> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * A size as people write it: 10G, 10Gi, 10GiB and 10GB all mean 10 * 2^30 bytes, as in docker.
 * Throws BAD_REQUEST when malformed, negative, or beyond 2^53-1.
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?$/i.exec(text.trim());
  const bytes =
    match === null
      ? Number.NaN
      : Math.round(Number(match[1]) * 1024 ** (POWERS[(match[2] ?? '').toLowerCase()] ?? 0));
  if (!Number.isSafeInteger(bytes)) {
    throw new HoldfastError(
      'BAD_REQUEST',
      `'${text}' is not a size; write a number and a unit, such as 512M, 10G or 1.5T`,
    );
  }
  return bytes;
}

/** A limit in bytes, as {@link parseSize}; 'none' is 0, and 0 itself, which nobody means, is refused. */
export function parseLimit(text: string): number {
  if (text === 'none') return 0;
  const bytes = parseSize(text);
  if (bytes > 0) return bytes;
  throw new HoldfastError(
    'BAD_REQUEST',
    "a limit of 0 would leave no room; give one such as 10G, or 'none'",
  );
}

/** A whole number in a range, for options. Throws BAD_REQUEST naming the option and the range. */
export function parseCount(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      throw new HoldfastError(
        'BAD_REQUEST',
        `${option} must be a whole number from ${min} to ${max}, not '${text}'`,
      );
    }
    return value;
  };
}

/** Permission bits in octal, as chmod takes them. Throws BAD_REQUEST. */
export function parseMode(text: string): number {
  if (!/^[0-7]{1,4}$/.test(text)) {
    throw new HoldfastError(
      'BAD_REQUEST',
      `'${text}' is not a mode; write octal digits, such as 0755`,
    );
  }
  return Number.parseInt(text, 8);
}
