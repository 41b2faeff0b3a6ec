/** The XML of S3: two documents of fixed form, written by machines. */
import { HoldfastError } from '@holdfast/protocol';
import type { StoredObject } from './store.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
};

function decodeText(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return ENTITIES[String(name)] ?? whole;
  });
}

function element(xml: string, name: string): string | undefined {
  const open = xml.indexOf(`<${name}>`);
  const close = xml.indexOf(`</${name}>`, open);
  if (open < 0 || close < 0) return undefined;
  return decodeText(xml.slice(open + name.length + 2, close));
}

/** A page of ListObjectsV2: its objects and the token of the next page. CORRUPT when it is none. */
export function parseListing(xml: string): {
  readonly objects: readonly StoredObject[];
  readonly next: string | undefined;
} {
  if (!xml.includes('<ListBucketResult'))
    throw new HoldfastError('CORRUPT', 'the object store did not answer with a listing');
  const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, content = '']) => {
    const key = element(content, 'Key');
    const bytes = Number(element(content, 'Size'));
    if (key === undefined || !Number.isSafeInteger(bytes))
      throw new HoldfastError('CORRUPT', 'a listing of the object store is malformed');
    return { key, bytes };
  });
  const isTruncated = element(xml, 'IsTruncated') === 'true';
  return { objects, next: isTruncated ? element(xml, 'NextContinuationToken') : undefined };
}

/** The code of an error document; '' when there is none (HEAD). */
export function errorCodeOf(body: Uint8Array): string {
  return element(Buffer.from(body).toString('utf8'), 'Code') ?? '';
}
