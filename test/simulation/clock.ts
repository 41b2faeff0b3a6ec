/** Virtual time: a queue of what happens when. Events of one time happen in the order they were set. */

interface Event {
  readonly time: number;
  readonly order: number;
  readonly run: () => void;
}

/** A binary heap by (time, order). */
export class Clock {
  #heap: Event[] = [];
  #order = 0;
  /** One tick of a replica is {@link TICK} units. */
  now = 0;

  /** Lets `run` happen after `delay` units. */
  after(delay: number, run: () => void): void {
    const event = { time: this.now + delay, order: this.#order, run };
    this.#order += 1;
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  /** Runs events up to `time`, until `isDone`. */
  runUntil(time: number, isDone: () => boolean = () => false): void {
    while (this.#heap.length > 0 && this.#heap[0]!.time <= time) {
      const event = this.#take();
      this.now = event.time;
      event.run();
      if (isDone()) return;
    }
    this.now = time;
  }

  #take(): Event {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}

/** Units of virtual time in one nominal tick. */
export const TICK = 100;
