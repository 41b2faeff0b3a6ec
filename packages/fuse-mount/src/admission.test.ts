import { beforeEach, describe, expect, it } from 'vitest';
import { Admission, type Admitted } from './admission.ts';
import type { OperationName, RequestBody, RequestHeader } from './kernel/requests.ts';
import { MOUNT_LIMITS } from './limits.ts';
import { PendingRequest } from './pending-request.ts';

const { changesMax, queuedMax, queuedBytesMax, runningPerVolumeMax } = MOUNT_LIMITS;

describe('Admission', () => {
  let started: Admitted[];
  let admission: Admission;
  let lastId: number;
  beforeEach(() => {
    started = [];
    lastId = 0;
    admission = new Admission((admitted) => started.push(admitted));
  });

  function admit(op: OperationName, volume: number, bytes = 0): Admitted {
    lastId += 2;
    const header = { requestId: lastId, node: { volume, ino: 1 } } as unknown as RequestHeader;
    const body = { op, bytes: new Uint8Array(bytes) } as unknown as RequestBody;
    const admitted = { request: new PendingRequest(header, op, 0), body };
    admission.admit(admitted);
    return admitted;
  }

  function admitMany(count: number, op: OperationName, volume: number): void {
    for (let index = 0; index < count; index += 1) admit(op, volume);
  }

  it('keeps order within a volume', () => {
    admitMany(runningPerVolumeMax, 'read', 1);
    const waiting = [admit('write', 1), admit('read', 1)];
    expect(started.length).toBe(runningPerVolumeMax);
    for (const admitted of started.slice(0, 2)) admission.finished(admitted);
    expect(started.slice(runningPerVolumeMax)).toEqual(waiting);
  });

  it('lets other volumes go on when one is stuck', () => {
    admitMany(runningPerVolumeMax + 20, 'write', 1);
    const other = admit('write', 2);
    expect(started.length).toBe(runningPerVolumeMax + 1);
    expect(started.at(-1)).toBe(other);
    expect(admission.running).toBe(runningPerVolumeMax + 1);
  });

  it('bounds the changes of all volumes, not what only looks', () => {
    admitMany(runningPerVolumeMax, 'write', 1);
    admitMany(runningPerVolumeMax, 'write', 2);
    expect(started.length).toBe(changesMax);
    const look = admit('getattr', 3);
    expect(started.at(-1)).toBe(look);
    const change = admit('mkdir', 3);
    expect(started.at(-1)).toBe(look);
    // Volume 2 waits longer than volume 3, volume 1 has nothing waiting.
    for (const admitted of started.slice(0, changesMax - runningPerVolumeMax)) {
      admission.finished(admitted);
    }
    expect(started.length).toBe(2 * runningPerVolumeMax + 1);
    admission.finished(started.at(-1) as Admitted);
    expect(started.at(-1)).toBe(change);
  });

  it('is full by number or by bytes, and has room again at half', () => {
    admitMany(runningPerVolumeMax + queuedMax - 1, 'read', 1);
    expect([admission.isFull, admission.hasRoom]).toEqual([false, false]);
    admit('read', 1);
    expect(admission.isFull).toBe(true);
    for (let index = 0; index < queuedMax / 2; index += 1) {
      admission.finished(started[index] as Admitted);
    }
    expect([admission.isFull, admission.hasRoom]).toEqual([false, true]);
    admission.clear();
    admit('write', 1, queuedBytesMax);
    expect(admission.isFull).toBe(true);
  });

  it('lets a waiting request be withdrawn, but none that has begun', () => {
    admitMany(runningPerVolumeMax, 'read', 1);
    const [one, two] = [admit('read', 1), admit('read', 1)];
    expect(admission.withdraw((started[0] as Admitted).request)).toBe(false);
    expect(admission.withdraw(one.request)).toBe(true);
    expect(admission.withdraw(one.request)).toBe(false);
    admission.finished(started[0] as Admitted);
    expect(started.at(-1)).toBe(two);
  });
});
