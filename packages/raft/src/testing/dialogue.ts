/**
 * Runs the scripts of testdata/: a command a line, what it prints below `----`. Commands:
 *
 *     cluster voters=1,2,3 learners=4 [lease] [election=10] [message-bytes=N] [inflight=N] [uncommitted=N]
 *     add 5                      a replica that waits to be told
 *     campaign 1 | tick 1 [N] | propose 1 WORDS | read 1 CONTEXT | transfer 1 2 | unreachable 1 2
 *     membership 1 voters=1,2 learners=3
 *     ready 1                    take and print a Ready, written but not flushed; its messages are sent
 *     flush 1                    what was written is durable; messages that waited are sent
 *     deliver [N]                deliver what is in flight (or the first N)
 *     drop [N]                   lose it
 *     settle                     ready, flush and deliver until all is quiet; prints the messages
 *     quiet                      the same, printing nothing
 *     cut 1 2 | isolate 1 | mend | crash 1 | compact 1 INDEX
 *     status 1 | log 1 | applied 1
 */
import { membershipOf } from '../membership.ts';
import { DEFAULT_LIMITS, type GroupOptions } from '../options.ts';
import { describeEntry, describeMessage, describeReady, describeStatus } from './describe.ts';
import { bytes, TestCluster } from './test-cluster.ts';

/** Runs a script and gives it back with what was printed. */
export function runDialogue(script: string): string {
  const dialogue = new Dialogue();
  const blocks = script.trimEnd().split(/\n\n+/);
  return `${blocks.map((block) => dialogue.block(block)).join('\n\n')}\n`;
}

class Dialogue {
  #cluster = new TestCluster(membershipOf([1]));
  #out: string[] = [];

  /** Comment lines, command lines, `----`, the old output. */
  block(block: string): string {
    const input = block.split('\n----')[0]!.split('\n');
    this.#out = [];
    for (const line of input) {
      if (line.startsWith('#')) continue;
      try {
        this.#run(line);
      } catch (error) {
        this.#out.push(`refused: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    if (input.every((line) => line.startsWith('#'))) return input.join('\n');
    return [...input, '----', ...(this.#out.length > 0 ? this.#out : ['ok'])].join('\n');
  }

  #run(line: string): void {
    const [command = '', ...words] = line.split(' ');
    const [first = '', second = ''] = words;
    const commands: Readonly<Record<string, () => void>> = {
      cluster: () => this.#create(words),
      add: () => this.#cluster.add(Number(first)),
      campaign: () => this.#group(first).campaign(),
      tick: () => this.#cluster.tick(Number(first), Number(second || 1)),
      propose: () => this.#answer(this.#group(first).propose(bytes(words.slice(1).join(' ')))),
      read: () => this.#answer(this.#group(first).readIndex(Number(second))),
      transfer: () => this.#answer(this.#group(first).transferLeadership(Number(second))),
      unreachable: () => this.#group(first).reportUnreachable(Number(second)),
      membership: () => this.#answer(this.#group(first).proposeMembership(targetOf(words))),
      ready: () => this.#ready(Number(first)),
      flush: () => this.#cluster.inFlight.push(...this.#cluster.at(Number(first)).flush()),
      deliver: () => this.#deliver(Number(first || Number.POSITIVE_INFINITY)),
      drop: () => this.#drop(Number(first || Number.POSITIVE_INFINITY)),
      settle: () => this.#settle(),
      quiet: () => this.#cluster.settle(),
      cut: () => this.#cluster.cut(Number(first), Number(second)),
      isolate: () => this.#cluster.isolate(Number(first)),
      mend: () => this.#cluster.mend(),
      crash: () => this.#cluster.at(Number(first)).start(),
      compact: () => this.#cluster.at(Number(first)).compact(Number(second)),
      status: () => this.#out.push(...describeStatus(this.#group(first).status())),
      log: () => this.#log(Number(first)),
      applied: () => this.#out.push(this.#cluster.at(Number(first)).applied.join(' ') || 'nothing'),
    };
    const run = commands[command];
    if (!run) throw new RangeError(`unknown command '${command}'`);
    run();
  }

  #group(id: string) {
    return this.#cluster.at(Number(id)).group;
  }

  #create(words: readonly string[]): void {
    const number = (name: string, fallback: number) => Number(optionOf(words, name) ?? fallback);
    const { messageBytesMax, inflightMessagesMax, uncommittedBytesMax } = DEFAULT_LIMITS;
    const options: Partial<GroupOptions> = {
      leaseReads: words.includes('lease'),
      electionTicks: number('election', 10),
      limits: {
        messageBytesMax: number('message-bytes', messageBytesMax),
        inflightMessagesMax: number('inflight', inflightMessagesMax),
        uncommittedBytesMax: number('uncommitted', uncommittedBytesMax),
      },
    };
    const { voters, learners } = targetOf(words);
    this.#cluster = new TestCluster(membershipOf(voters, learners), options);
  }

  #answer(answer: string | object): void {
    if (typeof answer === 'string') this.#out.push(answer);
    else
      this.#out.push(
        Object.entries(answer)
          .map(([name, value]) => `${name} ${value}`)
          .join(', '),
      );
  }

  #ready(id: number): void {
    const ready = this.#cluster.at(id).take();
    this.#cluster.inFlight.push(...ready.messages);
    this.#out.push(...describeReady(ready));
  }

  #deliver(count: number): void {
    for (const message of this.#cluster.inFlight.splice(0, count)) {
      const isLost = !this.#cluster.deliver(message);
      this.#out.push(`${describeMessage(message)}${isLost ? ' (lost)' : ''}`);
    }
  }

  #drop(count: number): void {
    for (const message of this.#cluster.inFlight.splice(0, count)) {
      this.#out.push(`${describeMessage(message)} (lost)`);
    }
  }

  #settle(): void {
    this.#cluster.onMessage = (message) => this.#out.push(describeMessage(message));
    this.#cluster.onReady = ({ id }, ready) => {
      for (const { context, index } of ready.readStates) {
        this.#out.push(`${id} read ${context} at ${index}`);
      }
      for (const context of ready.readsDropped) this.#out.push(`${id} read ${context} dropped`);
      if (ready.softState) this.#out.push(`${id} is ${ready.softState.role}`);
    };
    this.#cluster.settle();
    this.#cluster.onMessage = () => {};
    this.#cluster.onReady = () => {};
  }

  #log(id: number): void {
    const { base, stored } = this.#cluster.at(id).view;
    if (base.index > 0) this.#out.push(`up to ${base.index}@${base.term} compacted`);
    this.#out.push(...stored.map(describeEntry));
  }
}

function optionOf(words: readonly string[], name: string): string | undefined {
  return words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
}

function targetOf(words: readonly string[]): { voters: number[]; learners: number[] } {
  const ids = (name: string) =>
    (optionOf(words, name) ?? '')
      .split(',')
      .filter((id) => id !== '')
      .map(Number);
  return { voters: ids('voters'), learners: ids('learners') };
}
