/** The XML of object stores: documents of fixed form, written by machines. */
import { HoldfastError } from '@holdfast/protocol';
import type { StoredObject } from './store.ts';

/** A page of a listing: its objects and the token of the next page. */
export interface ListingPage {
  readonly objects: readonly StoredObject[];
  readonly next: string | undefined;
}

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

function objectIn(content: string, names: { key: string; bytes: string }): StoredObject {
  const key = element(content, names.key);
  const bytes = Number(element(content, names.bytes) ?? Number.NaN);
  if (key === undefined || !Number.isSafeInteger(bytes))
    throw new HoldfastError('CORRUPT', 'a listing of the object store is malformed');
  return { key, bytes };
}

function requireListing(xml: string, root: string): void {
  if (!xml.includes(`<${root}`))
    throw new HoldfastError('CORRUPT', 'the object store did not answer with a listing');
}

/** A page of S3's ListObjectsV2. CORRUPT when it is none. */
export function parseBucketListing(xml: string): ListingPage {
  requireListing(xml, 'ListBucketResult');
  const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, content = '']) =>
    objectIn(content, { key: 'Key', bytes: 'Size' }),
  );
  const isTruncated = element(xml, 'IsTruncated') === 'true';
  return { objects, next: isTruncated ? element(xml, 'NextContinuationToken') : undefined };
}

/**
 * A page of Azure's List Blobs; a page without blobs may have another behind it. Directories, which
 * accounts with a hierarchical namespace list too, are left out. CORRUPT when it is none.
 */
export function parseContainerListing(xml: string): ListingPage {
  requireListing(xml, 'EnumerationResults');
  const objects = [...xml.matchAll(/<Blob>(.*?)<\/Blob>/gs)]
    .filter(([, content = '']) => element(content, 'ResourceType') !== 'directory')
    .map(([, content = '']) => objectIn(content, { key: 'Name', bytes: 'Content-Length' }));
  return { objects, next: element(xml, 'NextMarker') || undefined };
}

/** The code of an error document; '' when there is none (HEAD). */
export function errorCodeOf(body: Uint8Array): string {
  return element(Buffer.from(body).toString('utf8'), 'Code') ?? '';
}
