/** A state machine for tests: it keeps all entries, in a file that is written only when it is flushed. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decode, encode } from '@holdfast/protocol';
import type { AppliedEntry, StateMachine } from '../shard-host.ts';

interface Tally {
  readonly applied: number;
  readonly texts: string[];
}

/** Remembers the text of every entry, and answers how many there are. */
export class TallyMachine implements StateMachine {
  readonly #path: string;
  #tally: Tally;

  private constructor(path: string, tally: Tally) {
    this.#path = path;
    this.#tally = tally;
  }

  static async open(directory: string, shard: number): Promise<TallyMachine> {
    const path = join(directory, `tally-${shard}`);
    const bytes = await readFile(path).catch(() => undefined);
    return new TallyMachine(path, bytes ? decode<Tally>(bytes) : { applied: 0, texts: [] });
  }

  get applied(): number {
    return this.#tally.applied;
  }

  get texts(): readonly string[] {
    return this.#tally.texts;
  }

  apply(entries: readonly AppliedEntry[]): readonly unknown[] {
    const { texts } = this.#tally;
    const results = entries.map(({ data }) => texts.push(Buffer.from(data).toString()));
    this.#tally = { applied: entries.at(-1)!.index, texts };
    return results;
  }

  async settled(): Promise<void> {}

  async flushed(): Promise<number> {
    const { applied } = this.#tally;
    await writeFile(`${this.#path}.new`, encode(this.#tally));
    await rename(`${this.#path}.new`, this.#path);
    return applied;
  }

  snapshot(): AsyncIterable<Uint8Array> {
    const bytes = encode(this.#tally.texts);
    async function* pieces() {
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    }
    return pieces();
  }

  async install(
    meta: { readonly index: number },
    stream: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const texts = decode<string[]>(await gather(stream));
    this.#tally = { applied: meta.index, texts };
    await this.flushed();
  }
}

async function gather(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}
