import { describe, expect, it } from 'vitest';
import { DirectoryStore } from './directory.ts';
import { parseS3Place, storeAt } from './place.ts';

const surroundings = { nowMs: () => 0, random: () => 0, sleep: async () => {} };

describe('the place of a repository', () => {
  it.each([
    ['s3:https://minio:9000/bucket/a/b', 'https://minio:9000', 'bucket', 'a/b'],
    ['s3:http://127.0.0.1:9000/bucket/', 'http://127.0.0.1:9000', 'bucket', ''],
    ['s3:s3.amazonaws.com/bucket', 'https://s3.amazonaws.com', 'bucket', ''],
    [
      's3://s3.eu-central-1.amazonaws.com/bucket/x',
      'https://s3.eu-central-1.amazonaws.com',
      'bucket',
      'x',
    ],
  ])('%s is a bucket', (place, endpoint, bucket, prefix) => {
    expect(parseS3Place(place)).toEqual({ endpoint, bucket, prefix });
  });

  it('is a directory where it begins with a slash', () => {
    expect(storeAt('/srv/backups', { surroundings })).toBeInstanceOf(DirectoryStore);
    expect(storeAt('local:/srv/backups', { surroundings })).toBeInstanceOf(DirectoryStore);
  });

  it.each(['backups', 's3:', 's3:host', 's3:https://id:secret@host/bucket', 's3:host/B', ''])(
    'is not %j',
    (place) => {
      expect(() => storeAt(place, { surroundings })).toThrow(/no place|bucket/);
    },
  );

  it('of a scheme that is not built in is refused as such', () => {
    expect(() => storeAt('azure:container:/', { surroundings })).toThrow(/built in/);
  });
});
