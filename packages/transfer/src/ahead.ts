/**
 * Prepares items ahead of the one that is wanted, and keeps their order. The first failure is thrown in its
 * place; what was begun behind it comes to its end unheard.
 */
export async function* ahead<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  prepare: (item: T) => Promise<R>,
  max: number,
): AsyncGenerator<R> {
  const begun: Promise<R>[] = [];
  for await (const item of items) {
    const prepared = prepare(item);
    prepared.catch(() => {});
    begun.push(prepared);
    if (begun.length >= max) yield await begun.shift()!;
  }
  for (const prepared of begun) yield await prepared;
}
