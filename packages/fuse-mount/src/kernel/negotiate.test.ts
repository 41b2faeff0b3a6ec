import { describe, expect, it } from 'vitest';
import { INIT_FLAG } from './flags.ts';
import {
  encodeAgreement,
  hasAcls,
  hasDirectIo,
  hasEpoch,
  hasExtendedXattrs,
  hasResend,
  negotiate,
} from './negotiate.ts';

const LINUX_5_10 = {
  op: 'init',
  major: 7,
  minor: 32,
  maxReadaheadBytes: 131_072,
  flags: 0x03ff_fffbn,
} as const;
const LINUX_6_18 = { ...LINUX_5_10, minor: 45, flags: 2n ** 44n - 1n } as const;
const LOCKS = { clusterLocks: true };

describe('negotiate', () => {
  it('takes Linux 5.10 without what came later', () => {
    const agreement = negotiate(LINUX_5_10, LOCKS);
    expect(agreement.minor).toBe(32);
    expect(agreement.flags & ~LINUX_5_10.flags).toBe(0n);
    expect([hasDirectIo(agreement), hasResend(agreement), hasEpoch(agreement)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('takes from Linux 6.18 only what it knows', () => {
    const agreement = negotiate({ ...LINUX_6_18, minor: 99 }, LOCKS);
    expect(agreement.minor).toBe(45);
    expect([hasDirectIo(agreement), hasResend(agreement), hasEpoch(agreement)]).toEqual([
      true,
      true,
      true,
    ]);
    const writebackCache = 1n << 16n;
    const passthrough = 1n << 37n;
    expect(agreement.flags & (writebackCache | passthrough)).toBe(0n);
  });

  it('serves ACLs with all that belongs to them or not at all', () => {
    const { posixAcls, setxattrExtended, dontMask } = INIT_FLAG;
    const all = posixAcls | setxattrExtended | dontMask;
    const agreement = negotiate(LINUX_6_18, LOCKS);
    expect(agreement.flags & all).toBe(all);
    expect([hasAcls(agreement), hasExtendedXattrs(agreement)]).toEqual([true, true]);
    for (const missing of [posixAcls, setxattrExtended, dontMask]) {
      const without = negotiate({ ...LINUX_6_18, flags: LINUX_6_18.flags & ~missing }, LOCKS);
      expect(without.flags & all).toBe(0n);
      expect([hasAcls(without), hasExtendedXattrs(without)]).toEqual([false, false]);
    }
  });

  it('leaves locks to the kernel unless they are to hold across hosts', () => {
    const locks = INIT_FLAG.posixLocks | INIT_FLAG.flockLocks;
    expect(negotiate(LINUX_6_18, LOCKS).flags & locks).toBe(locks);
    expect(negotiate(LINUX_6_18, { clusterLocks: false }).flags & locks).toBe(0n);
  });

  it.each([
    ['an older minor version', { ...LINUX_5_10, minor: 31 }],
    ['another major version', { ...LINUX_6_18, major: 8 }],
    ['no large writes', { ...LINUX_5_10, flags: LINUX_5_10.flags & ~INIT_FLAG.bigWrites }],
  ])('refuses %s', (_title, offer) => {
    expect(() => negotiate(offer, LOCKS)).toThrow(/this kernel/);
  });

  it('answers in 64 bytes', () => {
    const agreement = {
      minor: 45,
      flags: (0x90n << 32n) | 0x4040_0029n,
      maxReadaheadBytes: 131_072,
    };
    expect(encodeAgreement(agreement).toString('hex', 16)).toBe(
      [
        '07000000',
        '2d000000',
        '00000200',
        '29004040',
        '4000',
        '3000',
        '00001000',
        '01000000',
        '0001',
        '0000',
        '90000000',
        '00'.repeat(28),
      ].join(''),
    );
  });
});
