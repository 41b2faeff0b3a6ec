import { describe, expect, it } from 'vitest';
import { AzureStore } from './azure.ts';
import { DirectoryStore } from './directory.ts';
import { parseAzurePlace, parseS3Place, storeAt } from './place.ts';

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

  it.each([
    ['azure:backups:/', 'backups', ''],
    ['azure:backups:/a/b/', 'backups', 'a/b'],
    ['azure:backups:a', 'backups', 'a'],
    ['azure://backups', 'backups', ''],
    ['azure://backups/a/b', 'backups', 'a/b'],
  ])('%s is a container', (place, container, prefix) => {
    expect(parseAzurePlace(place)).toEqual({ container, prefix });
    const account = () => ({ name: 'account1', endpoint: 'http://127.0.0.1', key: 'AA==' });
    expect(storeAt(place, { surroundings, account })).toBeInstanceOf(AzureStore);
  });

  it.each(['azure:backups', 'azure:', 'azure:///a', 'azure:Upper:/', 'azure:a--b:/', 'azure:ab:/'])(
    'is not %j',
    (place) => {
      const account = () => ({ name: 'account1', endpoint: 'http://127.0.0.1', key: 'AA==' });
      expect(() => storeAt(place, { surroundings, account })).toThrow(/no place|container/);
    },
  );

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
    expect(() => storeAt('gs:bucket:/', { surroundings })).toThrow(/built in/);
  });
});
