import type { FileKind } from '@holdfast/protocol';
import { ModelContent } from './model-content.ts';
import { ModelLocks } from './model-locks.ts';

/** An inode of the model. */
export class ModelNode {
  ino = 0;
  readonly kind: FileKind;
  mode = 0;
  uid = 0;
  gid = 0;
  nlink = 1;
  size = 0;
  rdev = 0;
  target = '';
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  readonly birthNs: bigint;
  /** Directories: where '..' leads, and the entries in the order in which they were made. */
  parent: ModelNode = this;
  readonly entries = new Map<string, ModelNode>();
  readonly content = new ModelContent();
  readonly xattrs = new Map<string, Uint8Array>();
  readonly locks = new ModelLocks();
  /** Sessions that may have it open though it has no name. */
  holders = new Set<string>();
  isDead = false;

  constructor(kind: FileKind, nowNs: bigint) {
    this.kind = kind;
    this.atimeNs = this.mtimeNs = this.ctimeNs = this.birthNs = nowNs;
  }

  get isDirectory(): boolean {
    return this.kind === 'directory';
  }
}
