/**
 * Poly1305 (Bernstein, poly1305-20050329): the message as numbers of 16 bytes, evaluated at r modulo
 * 2^130 - 5. Node's crypto has it only inside an AEAD, and 130-bit arithmetic in JavaScript took
 * five times as long: the loop over blocks is a small WebAssembly function, put together here.
 *
 * Its memory: h0…h4 at 0 and r0…r4 at 40 (limbs of 26 bits, 8 bytes each), the message from 128.
 */
const LIMBS = 5;
const H_AT = 0;
const R_AT = 40;
const MESSAGE_AT = 128;
/** Bytes of the message that are copied in at once: small enough for the first caches. */
const PIECE_BYTES = 32 * 1024;
const BLOCK_BYTES = 16;

/** Opcodes (webassembly.github.io/spec/core, "Binary Format: Instructions"). */
const OP = {
  loop: 0x03,
  end: 0x0b,
  branchIf: 0x0d,
  get: 0x20,
  set: 0x21,
  i64Load: 0x29,
  i64Load32: 0x35,
  i64Store: 0x37,
  i32Const: 0x41,
  i64Const: 0x42,
  i32Less: 0x49,
  i32Add: 0x6a,
  i64Add: 0x7c,
  i64Mul: 0x7e,
  i64And: 0x83,
  i64Or: 0x84,
  i64Shift: 0x88,
} as const;
const I32 = 0x7f;
const I64 = 0x7e;
const NOTHING = 0x40;

type Code = readonly number[];

function unsigned(value: number): Code {
  const bytes = [];
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return [...bytes, rest];
}

/** Signed LEB128; one more byte where the top bit would be read as a sign. */
function signed(value: number): Code {
  const bytes = unsigned(value);
  const last = bytes.at(-1) ?? 0;
  return last & 64 ? [...bytes.slice(0, -1), last | 128, 0] : bytes;
}

function section(id: number, content: Code): Code {
  return [id, ...unsigned(content.length), ...content];
}

/** Locals: three parameters (i32 pointer, i32 end, i64 top bit), then i64 ones. */
const POINTER = 0;
const END = 1;
const TOP = 2;
const h = (limb: number): number => 3 + limb;
const r = (limb: number): number => 8 + limb;
/** 5 r: 2^130 is 5 modulo the prime, so that limbs beyond the fifth come back times 5. */
const r5 = (limb: number): number => 13 + limb;
const d = (limb: number): number => 18 + limb;
const LOCALS = 4 * LIMBS;

const get = (local: number): Code => [OP.get, local];
const set = (local: number, value: Code): Code => [...value, OP.set, local];
const constant = (value: number): Code => [OP.i64Const, ...signed(value)];
const two = (op: number, a: Code, b: Code): Code => [...a, ...b, op];
const low26 = (value: Code): Code => two(OP.i64And, value, constant(0x3ffffff));
const high = (value: Code, bits = 26): Code => two(OP.i64Shift, value, constant(bits));
const limbs = (code: (limb: number) => Code): Code =>
  Array.from({ length: LIMBS }, (_, limb) => code(limb)).flat();

/** Adds the block at the pointer: 32 bits from byte 3 * limb, of which 26 belong to the limb. */
function addBlock(limb: number): Code {
  const word: Code = [...get(POINTER), OP.i64Load32, 0, ...unsigned(3 * limb)];
  const part = high(word, 2 * limb);
  const bits = limb === LIMBS - 1 ? two(OP.i64Or, part, get(TOP)) : low26(part);
  return set(h(limb), two(OP.i64Add, get(h(limb)), bits));
}

/** One limb of h * r before carries. */
function product(limb: number): Code {
  const terms = Array.from({ length: LIMBS }, (_, i) => {
    const factor = i <= limb ? r(limb - i) : r5(LIMBS + limb - i);
    return two(OP.i64Mul, get(h(i)), get(factor));
  });
  return set(
    d(limb),
    terms.reduce((sum, term) => two(OP.i64Add, sum, term)),
  );
}

function carry(limb: number): Code {
  const isLast = limb === LIMBS - 1;
  const keep = set(h(limb), low26(get(d(limb))));
  if (isLast) {
    const back = two(OP.i64Mul, high(get(d(limb))), constant(5));
    return [...keep, ...set(h(0), two(OP.i64Add, get(h(0)), back))];
  }
  const next = d(limb + 1);
  return [...keep, ...set(next, two(OP.i64Add, get(next), high(get(d(limb)))))];
}

/** `\0asm`, version 1. */
const MAGIC: Code = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

function moduleBytes(): Uint8Array {
  const load = (local: number, at: number): Code =>
    set(local, [OP.i32Const, 0, OP.i64Load, 3, ...unsigned(at)]);
  const body: Code = [
    ...limbs((limb) => load(h(limb), H_AT + 8 * limb)),
    ...limbs((limb) => load(r(limb), R_AT + 8 * limb)),
    ...limbs((limb) => set(r5(limb), two(OP.i64Mul, get(r(limb)), constant(5)))),
    OP.loop,
    NOTHING,
    ...limbs(addBlock),
    ...limbs(product),
    ...limbs(carry),
    ...set(h(1), two(OP.i64Add, get(h(1)), high(get(h(0))))),
    ...set(h(0), low26(get(h(0)))),
    ...set(POINTER, two(OP.i32Add, get(POINTER), [OP.i32Const, BLOCK_BYTES])),
    ...two(OP.i32Less, get(POINTER), get(END)),
    OP.branchIf,
    0,
    OP.end,
    ...limbs((limb) => [
      OP.i32Const,
      0,
      ...get(h(limb)),
      OP.i64Store,
      3,
      ...unsigned(H_AT + 8 * limb),
    ]),
    OP.end,
  ];
  const code = [1, LOCALS, I64, ...body];
  const name = (text: string): Code => [text.length, ...Buffer.from(text)];
  return Uint8Array.from([
    ...MAGIC,
    ...section(1, [1, 0x60, 3, I32, I32, I64, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, 1]),
    ...section(7, [2, ...name('memory'), 2, 0, ...name('blocks'), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  ]);
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly blocks: (pointer: number, end: number, top: bigint) => void;
}

/** What of the JavaScript interface of WebAssembly is used; the type library for it is a browser's. */
interface Engine {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
}

function load(): Exports {
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: Engine }).WebAssembly;
  return new Instance(new Module(moduleBytes())).exports as Exports;
}

const { memory, blocks } = load();
const bytes = new Uint8Array(memory.buffer);
const words = new DataView(memory.buffer);

const LIMB_MASK = 0x3ffffffn;
const PRIME = (1n << 130n) - 5n;
const CLAMP = 0x0ffffffc0ffffffc0ffffffc0fffffffn;
const TOP_BIT = 1n << 24n;

function numberOf(sixteen: Uint8Array): bigint {
  const view = Buffer.from(sixteen.buffer, sixteen.byteOffset, BLOCK_BYTES);
  return view.readBigUInt64LE(0) | (view.readBigUInt64LE(8) << 64n);
}

/** Poly1305 of a message under the point `r` (16 bytes, clamped here) and the pad `s` (16 bytes). */
export function poly1305(message: Uint8Array, point: Uint8Array, pad: Uint8Array): Uint8Array {
  const clamped = numberOf(point) & CLAMP;
  for (let limb = 0; limb < LIMBS; limb++) {
    words.setBigUint64(H_AT + 8 * limb, 0n, true);
    words.setBigUint64(R_AT + 8 * limb, (clamped >> BigInt(26 * limb)) & LIMB_MASK, true);
  }
  const whole = message.length - (message.length % BLOCK_BYTES);
  for (let at = 0; at < whole; at += PIECE_BYTES) {
    const piece = message.subarray(at, Math.min(whole, at + PIECE_BYTES));
    bytes.set(piece, MESSAGE_AT);
    blocks(MESSAGE_AT, MESSAGE_AT + piece.length, TOP_BIT);
  }
  if (whole < message.length) {
    // The last, short block carries its top bit in the byte behind it.
    bytes.fill(0, MESSAGE_AT, MESSAGE_AT + BLOCK_BYTES);
    bytes.set(message.subarray(whole), MESSAGE_AT);
    bytes[MESSAGE_AT + message.length - whole] = 1;
    blocks(MESSAGE_AT, MESSAGE_AT + BLOCK_BYTES, 0n);
  }
  let sum = 0n;
  for (let limb = LIMBS - 1; limb >= 0; limb--)
    sum = (sum << 26n) + words.getBigUint64(H_AT + 8 * limb, true);
  const tag = (sum % PRIME) + numberOf(pad);
  const result = Buffer.alloc(BLOCK_BYTES);
  result.writeBigUInt64LE(tag & 0xffff_ffff_ffff_ffffn, 0);
  result.writeBigUInt64LE((tag >> 64n) & 0xffff_ffff_ffff_ffffn, 8);
  return result;
}
