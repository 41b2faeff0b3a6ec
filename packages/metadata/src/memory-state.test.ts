import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryState } from './memory-state.ts';

const key = (text: string): Uint8Array => Buffer.from(text, 'latin1');

async function scanned(
  state: MemoryState,
  from: Uint8Array,
  to: Uint8Array,
  limit: number,
): Promise<string[]> {
  const found: string[] = [];
  for await (const [name] of state.scan(from, to, limit)) {
    found.push(Buffer.from(name).toString('latin1'));
  }
  return found;
}

describe('MemoryState', () => {
  it('gives what was put and nothing for what was deleted', () => {
    const state = new MemoryState();
    state.put(key('a'), key('1'));
    state.put(key('a'), key('2'));
    expect(state.get(key('a'))).toEqual(Uint8Array.from(key('2')));
    state.delete(key('a'));
    state.delete(key('a'));
    expect(state.get(key('a'))).toBeUndefined();
    expect(state.size).toBe(0);
  });

  it('scans half-open ranges in the order of unsigned bytes, up to the limit', async () => {
    const state = new MemoryState();
    for (const name of ['b', '\xff', 'a', 'a\0', 'ab', '\x80']) state.put(key(name), key(name));
    expect(await scanned(state, key('a'), key('b'), 10)).toEqual(['a', 'a\0', 'ab']);
    expect(await scanned(state, key('ab'), key('\xff\xff'), 3)).toEqual(['ab', 'b', '\x80']);
    expect(await scanned(state, key('c'), key('d'), 3)).toEqual([]);
  });

  it('keeps its own copy of a value', () => {
    const state = new MemoryState();
    const value = Buffer.from('one');
    state.put(key('a'), value);
    value.fill(0);
    expect(Buffer.from(state.get(key('a')) ?? []).toString()).toBe('one');
  });

  it('equals a sorted map under random changes', () => {
    const change = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 3000 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 500, maxLength: 4000, size: 'max' }), (list) => {
        const state = new MemoryState();
        const plain = new Map<string, string>();
        for (const [isPut, number] of list) {
          const name = number.toString(7);
          if (isPut) {
            state.put(key(name), key(name));
            plain.set(name, name);
          } else {
            state.delete(key(name));
            plain.delete(name);
          }
        }
        const names = state.entries().map(([found]) => Buffer.from(found).toString('latin1'));
        expect(names).toEqual([...plain.keys()].sort());
      }),
      { numRuns: 20 },
    );
  });
});
