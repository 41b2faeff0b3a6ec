/** Keeps the certificate of a process that runs for years in date. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { HoldfastError } from '@holdfast/protocol';
import type { TlsMaterial } from '@holdfast/wire';

/** Milliseconds between two looks; the last third of a certificate's life has thousands of them. */
const LOOK_MS = 3_600_000;
/** Share of its life after which a certificate is renewed, and the most that chance adds to it. */
const DUE_SHARE = 2 / 3;
const JITTER_SHARE = 1 / 20;
const DAY_MS = 86_400_000;

/** What {@link CertificateWatch} works with. */
export interface CertificateWatchOptions {
  /** In use now. */
  readonly tls: TlsMaterial;
  /** What stands on disk; another process of this host may have renewed it. */
  readonly read: () => Promise<TlsMaterial>;
  /** Puts one in use for connections to come. */
  readonly use: (tls: TlsMaterial) => void;
  /** Gets a new one for the same key onto the disk; absent where another process does that. */
  readonly renew?: () => Promise<void>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to 1, so that hosts that joined together do not all ask at once. */
  readonly random: () => number;
  readonly report: (event: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** From when to when a certificate (PEM) is valid, in milliseconds since the epoch. Throws CORRUPT. */
export function certificateLife(pem: string): {
  readonly fromMs: number;
  readonly untilMs: number;
} {
  try {
    const { validFromDate, validToDate } = new X509Certificate(pem);
    return { fromMs: validFromDate.getTime(), untilMs: validToDate.getTime() };
  } catch (cause) {
    throw new HoldfastError('CORRUPT', 'the certificate of this host is malformed', { cause });
  }
}

/** Takes up what others have renewed, and has it renewed in time. */
export class CertificateWatch {
  readonly #options: CertificateWatchOptions;
  readonly #dueShare: number;
  #tls: TlsMaterial;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.#dueShare = DUE_SHARE + options.random() * JITTER_SHARE;
  }

  /** Looks every hour from now on; keeps no process alive. */
  start(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.look().then(() => this.start());
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** Looks no more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /** One look; never throws. What failed is reported, the old certificate stays, the next look tries again. */
  async look(): Promise<void> {
    const { renew, report } = this.#options;
    try {
      await this.#takeUp();
      if (renew === undefined || !this.#isDue()) return;
      await renew();
      await this.#takeUp();
      if (this.#isDue())
        throw new HoldfastError('INTERNAL', 'the certificate was renewed, but is as old as before');
    } catch (error) {
      report('certificate.unrenewed', { error, daysLeft: this.#daysLeft() });
    }
  }

  #isDue(): boolean {
    const { fromMs, untilMs } = certificateLife(this.#tls.cert);
    return this.#options.now() - fromMs > (untilMs - fromMs) * this.#dueShare;
  }

  #daysLeft(): number {
    const { untilMs } = certificateLife(this.#tls.cert);
    return Math.floor((untilMs - this.#options.now()) / DAY_MS);
  }

  async #takeUp(): Promise<void> {
    const { read, use, report } = this.#options;
    const found = await read();
    if (found.cert === this.#tls.cert) return;
    const certificate = new X509Certificate(found.cert);
    if (found.ca !== this.#tls.ca || !certificate.verify(new X509Certificate(found.ca).publicKey)) {
      const message = 'the certificate on disk is of another cluster: start this process again';
      throw new HoldfastError('WRONG_CLUSTER', message);
    }
    if (!certificate.checkPrivateKey(createPrivateKey(found.key)))
      throw new HoldfastError('CORRUPT', 'the certificate on disk is not of the key beside it');
    if (certificate.validToDate.getTime() <= certificateLife(this.#tls.cert).untilMs) return;
    this.#tls = found;
    use(found);
    report('certificate.renewed', { daysLeft: this.#daysLeft() });
  }
}
