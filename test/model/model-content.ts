/** The content of a model file: a list of runs over the whole file, the plainest form there is. */

/** What a run shows: allocated zeros, inline bytes, or part of a chunk. */
export type RunTag = 'zero' | 'inline' | { readonly chunk: string };

interface Run {
  readonly from: number;
  readonly to: number;
  readonly tag: RunTag;
  /** Bytes of [from, to); absent for zeros. */
  readonly bytes?: Uint8Array;
}

function part(run: Run, from: number, to: number): Run {
  const bytes = run.bytes?.subarray(from - run.from, to - run.from);
  return { from, to, tag: run.tag, ...(bytes === undefined ? {} : { bytes }) };
}

/** A segment of data as SEEK_DATA and SEEK_HOLE see it. */
export interface DataSegment {
  readonly from: number;
  readonly to: number;
}

/** Runs of one file, sorted. */
export class ModelContent {
  runs: Run[] = [];

  /** Makes [from, to) a hole. */
  clear(from: number, to: number): void {
    this.runs = this.runs.flatMap((run) => {
      if (run.to <= from || run.from >= to) return [run];
      const rest: Run[] = [];
      if (run.from < from) rest.push(part(run, run.from, from));
      if (run.to > to) rest.push(part(run, to, run.to));
      return rest;
    });
  }

  /** Puts a run in the place of what it covers. */
  put(from: number, to: number, tag: RunTag, bytes?: Uint8Array): void {
    this.clear(from, to);
    this.runs.push({ from, to, tag, ...(bytes === undefined ? {} : { bytes }) });
    this.runs.sort((a, b) => a.from - b.from);
  }

  /** Gives the holes of [from, to) allocated zeros. */
  fill(from: number, to: number): void {
    const before = this.runs;
    this.runs = [...before];
    let at = from;
    for (const run of before) {
      if (run.to <= at || run.from >= to) continue;
      if (run.from > at) this.put(at, run.from, 'zero');
      at = Math.max(at, run.to);
    }
    if (at < to) this.put(at, to, 'zero');
  }

  /** Bytes that are not holes. */
  get allocatedBytes(): number {
    return this.runs.reduce((bytes, { from, to }) => bytes + (to - from), 0);
  }

  /** Chunks that the content shows. */
  get chunks(): string[] {
    return this.runs.flatMap(({ tag }) => (typeof tag === 'object' ? [tag.chunk] : []));
  }

  /** Where data is, neighbours joined, cut at `size`. */
  segments(size: number): DataSegment[] {
    const found: { from: number; to: number }[] = [];
    for (const { from, to, tag } of this.runs) {
      if (tag === 'zero' || from >= size) continue;
      const last = found.at(-1);
      if (last !== undefined && last.to === from) last.to = Math.min(to, size);
      else found.push({ from, to: Math.min(to, size) });
    }
    return found;
  }

  /** The bytes of a range, holes as zeros. */
  read(from: number, to: number): Uint8Array {
    const bytes = new Uint8Array(to - from);
    for (const run of this.runs) {
      if (run.to <= from || run.from >= to || run.bytes === undefined) continue;
      const shown = part(run, Math.max(run.from, from), Math.min(run.to, to));
      bytes.set(shown.bytes ?? [], shown.from - from);
    }
    return bytes;
  }
}
