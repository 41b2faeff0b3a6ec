import { poly1305 as other } from '@noble/ciphers/_poly1305.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CipherKey, cipherKeyFrom, seal, unseal } from './cipher.ts';
import { poly1305 } from './poly1305.ts';

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

const key: CipherKey = cipherKeyFrom(Buffer.from(Array.from({ length: 64 }, (_, i) => i * 3)));
const iv = Buffer.from('0123456789abcdef');

describe('Poly1305', () => {
  // D. J. Bernstein, poly1305-20050329, appendix B: message, r, AES_k(n), result.
  it.each([
    [
      'f3f6',
      '851fc40c3467ac0be05cc20404f3f700',
      '580b3b0f9447bb1e69d095b5928b6dbc',
      'f4c633c3044fc145f84f335cb81953de',
    ],
    [
      '',
      'a0f3080000f46400d0c7e9076c834403',
      'dd3fab2251f11ac759f0887129cc2ee7',
      'dd3fab2251f11ac759f0887129cc2ee7',
    ],
    [
      '663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136',
      '48443d0bb0d21109c89a100b5ce2c208',
      '83149c69b561dd88298a1798b10716ef',
      '0ee1c16bb73f0f4fd19881753c01cdbe',
    ],
    [
      'ab0812724a7f1e342742cbed374d94d136c6b8795d45b3819830f2c04491faf0990c62e48b8018b2c3e4a0fa3134cb67fa83e158c994d961c4cb21095c1bf9',
      '12976a08c4426d0ce8a82407c4f48207',
      '80f8c20aa71202d1e29179cbcb555a57',
      '5154ad0d2cb26e01274fc51148491f1b',
    ],
  ])('gives the result of the paper for message %s', (message, r, s, mac) => {
    expect(Buffer.from(poly1305(hex(message), hex(r), hex(s))).toString('hex')).toBe(mac);
  });
});

describe('Poly1305 against another implementation', () => {
  const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
    fc.oneof(
      fc.uint8Array({ minLength: length, maxLength: length }),
      // All ones: the largest limbs and the longest carries.
      fc.constant(new Uint8Array(length).fill(255)),
    );
  const agrees = (message: Uint8Array, r: Uint8Array, s: Uint8Array): void => {
    const expected = other(message, Buffer.concat([r, s]));
    expect(Buffer.from(poly1305(message, r, s))).toEqual(Buffer.from(expected));
  };

  it('agrees on messages of any length and bytes', () => {
    const message = fc.nat({ max: 100 }).chain(bytes);
    fc.assert(fc.property(message, bytes(16), bytes(16), agrees), { numRuns: 2000 });
  });

  it.each([32_767, 32_768, 32_769, 65_536, 100_001])('agrees on %i bytes', (length) => {
    const message = new Uint8Array(length).map((_, at) => at * 7);
    agrees(message, new Uint8Array(16).fill(255), new Uint8Array(16).fill(255));
  });
});

describe('a sealed message', () => {
  it('gives back what went in, whatever the length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (plaintext) => {
        expect(unseal(key, seal(key, plaintext, iv))).toEqual(Buffer.from(plaintext));
      }),
    );
  });

  it('is refused with any bit changed, cut at any place, or under another key', () => {
    const sealed = Buffer.from(seal(key, Buffer.from('a directory'), iv));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const wrong = Buffer.from(sealed);
      wrong[bit >> 3] = (wrong[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => unseal(key, wrong)).toThrow(/encrypted object/);
    }
    for (let length = 0; length < sealed.length; length++)
      expect(() => unseal(key, sealed.subarray(0, length))).toThrow(/encrypted object/);
    expect(() => unseal({ ...key, macK: key.macR }, sealed)).toThrow(/encrypted object/);
  });
});
