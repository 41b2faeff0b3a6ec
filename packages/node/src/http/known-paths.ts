/** Which methods a path takes, to tell a wrong method (405) from an unknown path (404). */
export class KnownPaths {
  readonly #methods = new Map<string, Set<string>>();

  /** `pattern` as fastify writes it: `/v1/nodes/:number`. */
  add(pattern: string, methods: readonly string[]): void {
    const known = this.#methods.get(pattern) ?? new Set();
    for (const method of methods) known.add(method);
    this.#methods.set(pattern, known);
  }

  /** Sorted; empty when no route has such a path. */
  methodsOf(path: string): readonly string[] {
    const matching = [...this.#methods].filter(([pattern]) => isLike(path, pattern));
    return [...new Set(matching.flatMap(([, methods]) => [...methods]))].sort();
  }
}

function isLike(path: string, pattern: string): boolean {
  const given = path.split('/');
  const wanted = pattern.split('/');
  return (
    given.length === wanted.length &&
    wanted.every((part, i) => (part.startsWith(':') ? given[i] !== '' : part === given[i]))
  );
}
