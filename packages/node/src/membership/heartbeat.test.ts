import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { expect, it } from 'vitest';
import type { HeartbeatRequest } from '../rpc/messages.ts';
import { createLog } from '../telemetry/log.ts';
import { Heartbeat } from './heartbeat.ts';

const SELF = 3 as NodeNumber;
const OTHER = 1 as NodeNumber;

it('tells who leads after it was said to lead itself, and does not any more', async () => {
  const told: NodeNumber[] = [];
  let isSaid = false;
  const toldAgain = Promise.withResolvers<void>();
  const call = async (): Promise<unknown> => {
    told.push(OTHER);
    // While this peer is elected, another one knows of it first; then the other one is elected.
    if (isSaid) toldAgain.resolve();
    else {
      isSaid = true;
      throw new HoldfastError('NOT_LEADER', undefined, { detail: { leader: SELF } });
    }
    return { epoch: 0 };
  };
  const heartbeat = new Heartbeat({
    self: SELF,
    registry: { isLeader: false, leader: OTHER },
    peers: { to: () => ({ call: call as never }) },
    map: { current: undefined, offer: () => {} },
    downAfterMs: 40,
    facts: () => ({}) as HeartbeatRequest,
    heardHere: async () => {},
    search: async () => {},
    log: createLog('silent'),
  });
  heartbeat.start();
  await toldAgain.promise;
  await heartbeat.close();
  expect(told.length).toBeGreaterThanOrEqual(2);
  expect(heartbeat.isHeard).toBe(true);
});
