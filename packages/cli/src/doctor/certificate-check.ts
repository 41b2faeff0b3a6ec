import { certificateLife, loadIdentity } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import { isMember } from '../context.ts';
import { type Finding, finding } from './finding.ts';

const DAY_MS = 86_400_000;
/** Share of a certificate's life that is left when it should long have been renewed (at a third). */
const OVERDUE_SHARE = 1 / 4;

/** How long the certificate of this host is good for; nothing on a host in no cluster. */
export async function checkCertificate(dataDirectory: string, nowMs: number): Promise<Finding[]> {
  if (!isMember(dataDirectory)) return [];
  try {
    const { tls, role } = await loadIdentity(dataDirectory);
    const { fromMs, untilMs } = certificateLife(tls.cert);
    return [judge({ fromMs, untilMs, nowMs, isPeer: role === 'node' })];
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return [finding('certificate', false, '', error.message)];
  }
}

/** Times in milliseconds since the epoch. */
interface Life {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly nowMs: number;
  readonly isPeer: boolean;
}

function judge({ fromMs, untilMs, nowMs, isPeer }: Life): Finding {
  const days = Math.floor((untilMs - nowMs) / DAY_MS);
  const until = new Date(untilMs).toISOString();
  const wrong = (message: string): Finding => finding('certificate', false, '', message);
  if (nowMs < fromMs)
    return wrong(`valid only from ${new Date(fromMs).toISOString()}; set the clock`);
  if (nowMs >= untilMs)
    return wrong(
      `ended at ${until}; empty the data directory of a host without data and join again with 'holdfast join TOKEN'`,
    );
  const way = isPeer
    ? "'holdfast node' renews it while it runs: see its log for certificate.unrenewed"
    : "try 'holdfast certificate renew'";
  const isOverdue = untilMs - nowMs < (untilMs - fromMs) * OVERDUE_SHARE;
  if (isOverdue) return wrong(`${days} days left, until ${until}, and not renewed; ${way}`);
  return finding('certificate', true, `${days} days left, until ${until}`, '');
}
