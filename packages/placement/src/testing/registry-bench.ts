import type { ClusterMap, NodeRecord } from '@holdfast/protocol';
import type { NodeFacts, RegistryChange, RegistryResult } from '../cluster-commands.ts';
import { ClusterState } from '../cluster-state.ts';

/** What a peer says of itself, made of its name. */
export function facts(name: string, incarnation = name): NodeFacts {
  return {
    name,
    grpcAddress: `${name}:7400`,
    wireAddress: `${name}:7401`,
    adminAddress: `${name}:7402`,
    discoveryAddress: '',
    zone: name,
    weight: 1,
    incarnation: Buffer.from(incarnation).toString('hex').padEnd(32, '0').slice(0, 32),
  };
}

/** A registry to which commands are given one by one. */
export class RegistryBench {
  readonly state = new ClusterState();
  readonly #time: () => string;
  #next = 0;

  constructor(time: () => string = () => '2026-01-01T00:00:00.000Z') {
    this.#time = time;
  }

  /** Applies a change; `id` names the command, so that it can be repeated. */
  try(change: RegistryChange, id = `c${this.#next++}`): RegistryResult {
    return this.state.apply({ v: 1, id, time: this.#time(), change });
  }

  /** Applies a change that must not be refused. */
  do(change: RegistryChange): Extract<RegistryResult, { ok: true }>['answer'] {
    const result = this.try(change);
    if (!result.ok) throw new Error(`${result.code}: ${result.message}`);
    return result.answer;
  }

  get map(): ClusterMap {
    if (this.state.map === undefined) throw new Error('no map');
    return this.state.map;
  }

  node(number: number): NodeRecord | undefined {
    return this.map.nodes.find((node) => node.number === number);
  }
}

/** A registry with one peer and two volume shards. */
export function begun(): RegistryBench {
  return registryAt();
}

/** Likewise, with a clock of the caller's, ISO 8601. */
export function registryAt(time?: () => string): RegistryBench {
  const bench = new RegistryBench(time);
  bench.do({
    op: 'init-cluster',
    clusterId: 'cc',
    name: 'test',
    volumeShards: 2,
    node: facts('a'),
    serial: 'a1',
  });
  return bench;
}
