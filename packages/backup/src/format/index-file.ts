/** Index files, `index/<id>`: which blob lies in which pack, where. */
import { HoldfastError } from '@holdfast/protocol';
import { isStorageId, type StorageId } from './ids.ts';
import { countOf, fieldsOf, listOf, textOf } from './json.ts';
import type { BlobType, PackedBlob } from './pack.ts';

/** A pack and all of its blobs. */
export interface IndexedPack {
  readonly id: StorageId;
  readonly blobs: readonly PackedBlob[];
}

const U32_MAX = 0xffff_ffff;

function idOf(value: unknown): StorageId {
  const id = textOf(value, 'an id');
  if (!isStorageId(id)) throw new HoldfastError('CORRUPT', 'an index has an id that is none');
  return id;
}

function typeOf(value: unknown): BlobType {
  if (value === 'data' || value === 'tree') return value;
  throw new HoldfastError('CORRUPT', 'an index has a blob of an unknown type');
}

/** Packs as the JSON document of an index file. */
export function indexDocument(packs: readonly IndexedPack[]): unknown {
  return {
    packs: packs.map(({ id, blobs }) => ({
      id,
      blobs: blobs.map(({ id, type, offset, length, uncompressedLength }) => ({
        id,
        type,
        offset,
        length,
        ...(uncompressedLength > 0 ? { uncompressed_length: uncompressedLength } : {}),
      })),
    })),
  };
}

/** The reverse of {@link indexDocument}; CORRUPT when malformed. */
export function packsOfIndex(document: unknown): IndexedPack[] {
  const what = 'an index';
  return listOf(fieldsOf(document, what)['packs'], what).map((item) => {
    const pack = fieldsOf(item, what);
    const blobs = listOf(pack['blobs'], what).map((entry) => {
      const blob = fieldsOf(entry, what);
      return {
        id: idOf(blob['id']),
        type: typeOf(blob['type']),
        offset: countOf(blob['offset'], what, U32_MAX),
        length: countOf(blob['length'], what, U32_MAX),
        uncompressedLength: countOf(blob['uncompressed_length'], what, U32_MAX),
      };
    });
    return { id: idOf(pack['id']), blobs };
  });
}
