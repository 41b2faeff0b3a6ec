/** What the kernel asks, as typed values. Names and targets are latin1 text, one character a byte. */
import type { LockRequest, NodeReference, TimeStamp } from '@holdfast/protocol';

/** The part that all requests have (`fuse_in_header`). */
export interface RequestHeader {
  readonly opcode: number;
  /** Bytes of the whole request. */
  readonly length: number;
  /** `unique` without the resend bit: even, the same when the request is sent again after a restart. */
  readonly requestId: number;
  /** The kernel sends this again because an earlier daemon did not answer it. */
  readonly isResent: boolean;
  readonly node: NodeReference;
  readonly uid: number;
  readonly gid: number;
  /** Thread id of the caller in the daemon's pid namespace; 0 when it has none there. */
  readonly pid: number;
}

/** INIT: what the kernel can do. */
export interface InitRequest {
  readonly op: 'init';
  readonly major: number;
  readonly minor: number;
  readonly maxReadaheadBytes: number;
  readonly flags: bigint;
}

/** SETATTR with only the fields that count. */
export interface SetAttributesRequest {
  readonly op: 'setattr';
  /** The open file through which it is asked for: ftruncate(2). */
  readonly handle?: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: TimeStamp;
  readonly mtime?: TimeStamp;
  readonly killPrivileges: boolean;
}

/** WRITE. The request owns `bytes`. */
export interface WriteRequest {
  readonly op: 'write';
  readonly handle: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly writeFlags: number;
  /** open(2) flags of the descriptor. */
  readonly openFlags: number;
}

interface LockBody {
  readonly handle: number;
  readonly lock: LockRequest;
}

/** The fields after the header, by operation. */
export type RequestBody =
  | InitRequest
  | SetAttributesRequest
  | WriteRequest
  | { readonly op: 'lookup' | 'unlink' | 'rmdir' | 'removexattr'; readonly name: string }
  | { readonly op: 'forget' }
  | { readonly op: 'batchForget'; readonly nodes: readonly NodeReference[] }
  | { readonly op: 'getattr' | 'readlink' | 'statfs' | 'destroy' }
  | { readonly op: 'symlink'; readonly name: string; readonly target: string }
  | {
      readonly op: 'mknod';
      readonly name: string;
      /** Its permissions as the caller wants them, before the umask; so too below. */
      readonly mode: number;
      readonly umask: number;
      readonly rdev: number;
    }
  | {
      readonly op: 'mkdir';
      readonly name: string;
      readonly mode: number;
      readonly umask: number;
    }
  | {
      readonly op: 'rename';
      readonly name: string;
      readonly newParent: NodeReference;
      readonly newName: string;
      readonly flags: number;
    }
  | { readonly op: 'link'; readonly node: NodeReference; readonly newName: string }
  | { readonly op: 'open'; readonly openFlags: number; readonly killPrivileges: boolean }
  | { readonly op: 'opendir'; readonly openFlags: number }
  | {
      readonly op: 'create';
      readonly name: string;
      readonly mode: number;
      readonly umask: number;
      readonly openFlags: number;
      readonly killPrivileges: boolean;
    }
  | {
      readonly op: 'read';
      readonly handle: number;
      readonly offset: number;
      readonly length: number;
      /** What is read stays in the kernel's page cache, for a file that is mapped, until it is dropped there. */
      readonly isForCache: boolean;
    }
  | {
      readonly op: 'readdir' | 'readdirplus';
      readonly handle: number;
      /** Value that the entry before carried; 0 from the start. */
      readonly offset: bigint;
      readonly length: number;
    }
  | {
      readonly op: 'release' | 'releasedir';
      readonly handle: number;
      readonly openFlags: number;
      readonly releaseFlags: number;
      readonly lockOwner: string;
    }
  | { readonly op: 'flush'; readonly handle: number; readonly lockOwner: string }
  | { readonly op: 'fsync' | 'fsyncdir'; readonly handle: number; readonly dataOnly: boolean }
  | {
      readonly op: 'setxattr';
      readonly name: string;
      readonly value: Uint8Array;
      readonly flags: number;
      /** SETXATTR_KILL_SET_GROUP. */
      readonly killSetGroup: boolean;
    }
  | { readonly op: 'getxattr'; readonly name: string; readonly length: number }
  | { readonly op: 'listxattr'; readonly length: number }
  | ({ readonly op: 'getlk' | 'setlk' | 'setlkw' } & LockBody)
  | { readonly op: 'interrupt'; readonly requestId: number }
  | {
      readonly op: 'fallocate';
      readonly handle: number;
      readonly offset: number;
      readonly length: number;
      readonly mode: number;
    }
  | {
      readonly op: 'lseek';
      readonly handle: number;
      readonly offset: number;
      readonly whence: number;
    };

/** Operations that have a decoder. */
export type OperationName = RequestBody['op'];

type BodyFor<Body, Op> = Body extends { readonly op: infer Ops }
  ? Op extends Ops
    ? Body
    : never
  : never;

/** The body of one operation. */
export type BodyOf<Op extends OperationName> = BodyFor<RequestBody, Op>;
