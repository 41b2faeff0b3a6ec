import { HoldfastError } from '@holdfast/protocol';
import { KIND } from './keys.ts';
import type { RecordType } from './record-type.ts';
import { BLOB, DENTRY, type HeadRecord, INODE, LISTING, REGION, XATTRS } from './records.ts';

const TYPES: Readonly<Record<number, unknown>> = {
  [KIND.inode]: INODE,
  [KIND.dentry]: DENTRY,
  [KIND.listing]: LISTING,
  [KIND.xattrs]: XATTRS,
  [KIND.region]: REGION,
  [KIND.blob]: BLOB,
};

/** How head records of a kind of keys are stored, as far as all of them are alike. */
export function headType(kind: number): RecordType<HeadRecord> {
  const type = TYPES[kind];
  if (type === undefined) throw new HoldfastError('INTERNAL', `kind ${kind} is none of a head`);
  return type as RecordType<HeadRecord>;
}
