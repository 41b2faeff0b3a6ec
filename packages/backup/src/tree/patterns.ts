/** Patterns of paths in restic's meaning (restic.readthedocs.io, "Excluding Files"; Go's path/filepath.Match). */
import { HoldfastError } from '@holdfast/protocol';

/** A component of a pattern; `null`: `**`, any number of directories. */
type Component = RegExp | null;

/** What a pattern says of a path. */
interface Verdict {
  /** The path, or a directory above it, matches. */
  readonly isMatch: boolean;
  /** Something below the path may match. */
  readonly mayHold: boolean;
}

/** A pattern that was read. Paths are names from the root; strings of bytes (latin1). */
export class PathPattern {
  readonly #components: readonly Component[];
  /** Whether it begins at the root; else it may begin anywhere. */
  readonly #isAnchored: boolean;

  private constructor(components: readonly Component[], isAnchored: boolean) {
    this.#components = components;
    this.#isAnchored = isAnchored;
  }

  /** BAD_REQUEST when it is empty or a bracket is not closed. */
  static parse(text: string): PathPattern {
    const bytes = Buffer.from(text, 'utf8').toString('latin1');
    const parts = bytes.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.length === 0)
      throw new HoldfastError('BAD_REQUEST', `'${text}' is no pattern: it matches nothing`);
    const components = parts.map((part) => (part === '**' ? null : componentOf(part, text)));
    return new PathPattern(components, text.startsWith('/'));
  }

  judge(names: readonly string[]): Verdict {
    const last = this.#isAnchored ? 0 : names.length - 1;
    let isMatch = false;
    let mayHold = !this.#isAnchored;
    for (let first = 0; first <= last && !isMatch; first++) {
      const verdict = this.#from(names.slice(first), this.#components);
      isMatch = verdict.isMatch;
      mayHold ||= verdict.mayHold;
    }
    return { isMatch, mayHold: mayHold || isMatch };
  }

  #from(names: readonly string[], components: readonly Component[]): Verdict {
    const [component, ...rest] = components;
    if (component === undefined) return { isMatch: true, mayHold: true };
    const [name, ...below] = names;
    if (name === undefined) {
      // `**` alone may stand for nothing, but not for the directory itself.
      return { isMatch: false, mayHold: true };
    }
    if (component !== null)
      return component.test(name) ? this.#from(below, rest) : { isMatch: false, mayHold: false };
    for (let taken = 0; taken <= names.length; taken++) {
      const left = names.slice(taken);
      if (rest.length === 0 || this.#from(left, rest).isMatch)
        return { isMatch: true, mayHold: true };
    }
    return { isMatch: false, mayHold: true };
  }
}

/** One component: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before what is meant as it is. */
function componentOf(part: string, whole: string): RegExp {
  let source = '';
  for (let at = 0; at < part.length; at++) {
    const character = part[at] ?? '';
    if (character === '*') source += '[^/]*';
    else if (character === '?') source += '[^/]';
    else if (character === '[') {
      const end = part.indexOf(']', at + 2);
      if (end < 0)
        throw new HoldfastError('BAD_REQUEST', `'${whole}' is no pattern: a [ is not closed`);
      source += `[${part.slice(at + 1, end).replace(/[\\[]/g, '\\$&')}]`;
      at = end;
    } else {
      const literal = character === '\\' ? (part[++at] ?? '\\') : character;
      source += literal.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    }
  }
  try {
    return new RegExp(`^${source}$`, 's');
  } catch (cause) {
    throw new HoldfastError('BAD_REQUEST', `'${whole}' is no pattern`, { cause });
  }
}

/** Which entries of a tree are meant: those that some `include` matches (all without one) and no `exclude`. */
export class PathFilter {
  readonly #include: readonly PathPattern[];
  readonly #exclude: readonly PathPattern[];
  /** The patterns as they were given: equal ones make equal filters. */
  readonly texts: { readonly include: readonly string[]; readonly exclude: readonly string[] };

  /** BAD_REQUEST for a pattern that cannot be read. */
  constructor({
    include = [],
    exclude = [],
  }: {
    readonly include?: readonly string[];
    readonly exclude?: readonly string[];
  }) {
    this.texts = { include, exclude };
    this.#include = include.map((text) => PathPattern.parse(text));
    this.#exclude = exclude.map((text) => PathPattern.parse(text));
  }

  /** Whether only what is named is meant, and not all but what is named. */
  get isPart(): boolean {
    return this.#include.length > 0;
  }

  /** whole: it, and what no `exclude` takes away below; inside: only what is meant below it; none. */
  judge(names: readonly string[]): 'whole' | 'inside' | 'none' {
    if (this.#exclude.some((pattern) => pattern.judge(names).isMatch)) return 'none';
    if (this.#include.length === 0) return 'whole';
    const verdicts = this.#include.map((pattern) => pattern.judge(names));
    if (verdicts.some(({ isMatch }) => isMatch)) return 'whole';
    return verdicts.some(({ mayHold }) => mayHold) ? 'inside' : 'none';
  }
}
