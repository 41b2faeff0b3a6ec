/**
 * Join tokens: HFTKN-1-<SHA-256 of the cluster's CA certificate>-<id>-<secret>, all hexadecimal. The
 * digest lets a new host know the cluster before it trusts it; the cluster keeps the secret's digest only.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { HoldfastError, type TokenRecord, type TokenRole } from '@holdfast/protocol';

const TOKEN = /^HFTKN-1-([0-9a-f]{64})-([0-9a-f]{12})-([0-9a-f]{32})$/;

/** A token taken apart. */
export interface Token {
  readonly caDigest: string;
  readonly id: string;
  readonly secret: string;
}

/** A new token's text, and what the registry keeps of it. */
export interface NewToken {
  readonly text: string;
  readonly record: Omit<TokenRecord, 'revoked' | 'createdAt'>;
}

/** Makes a token. `expiresAt` is ISO 8601, '' for never. */
export function createToken(caDigest: string, role: TokenRole, expiresAt: string): NewToken {
  const id = randomBytes(6).toString('hex');
  const secret = randomBytes(16).toString('hex');
  return {
    text: `HFTKN-1-${caDigest}-${id}-${secret}`,
    record: { id, role, secretDigest: digestOf(secret), expiresAt },
  };
}

/** Takes a token apart; white space around it is forgiven. Throws BAD_TOKEN saying what is wrong. */
export function parseToken(text: string): Token {
  const trimmed = text.trim();
  const parts = TOKEN.exec(trimmed);
  if (parts !== null) {
    const [, caDigest = '', id = '', secret = ''] = parts;
    return { caDigest, id, secret };
  }
  if (/^HFTKN-(?!1-)/.test(trimmed)) {
    throw new HoldfastError(
      'BAD_TOKEN',
      'the token is of a newer version of Holdfast; upgrade this host',
    );
  }
  throw new HoldfastError(
    'BAD_TOKEN',
    "the token is malformed: it reads HFTKN-1-<64 digits>-<12 digits>-<32 digits>, whole and without line breaks; print one with 'holdfast token create'",
  );
}

/**
 * The role that a presented token admits to, checked against what the registry has under its id.
 * Throws BAD_TOKEN; an unknown id and a wrong secret read alike, so that ids cannot be searched for.
 */
export function checkToken(
  presented: Token,
  record: TokenRecord | undefined,
  caDigest: string,
  now: number,
): TokenRole {
  if (presented.caDigest !== caDigest) {
    throw new HoldfastError('BAD_TOKEN', 'the token is of another cluster');
  }
  // Compared even when there is no record: the time taken tells nothing.
  const expected = Buffer.from(record?.secretDigest ?? digestOf(''), 'hex');
  const matches = timingSafeEqual(expected, Buffer.from(digestOf(presented.secret), 'hex'));
  if (record === undefined || !matches) {
    throw new HoldfastError(
      'BAD_TOKEN',
      "this cluster does not know the token; print one with 'holdfast token create'",
    );
  }
  if (record.revoked) {
    throw new HoldfastError(
      'BAD_TOKEN',
      "the token was revoked; print a new one with 'holdfast token create'",
    );
  }
  if (record.expiresAt !== '' && Date.parse(record.expiresAt) <= now) {
    throw new HoldfastError(
      'BAD_TOKEN',
      `the token expired at ${record.expiresAt}; print a new one with 'holdfast token create'`,
    );
  }
  return record.role;
}

function digestOf(secret: string): string {
  return createHash('sha256').update(secret, 'latin1').digest('hex');
}
