/** Routes of the admin API on which hosts use which volume. */
import { HoldfastError } from '@holdfast/protocol';
import type { Registry } from '../membership/registry.ts';
import type { Api } from './routes.ts';
import * as schemas from './schemas.ts';

/** Adds them. */
export function addAttachments(api: Api, registry: Registry): void {
  const release = {
    summary: 'Forget that a host uses a volume; refused unless that host is known to be down',
    tags: ['volumes'],
    params: schemas.ATTACHMENT,
    querystring: schemas.FORCE,
    response: schemas.answers(schemas.ONE_VOLUME),
  };
  api.delete(
    '/v1/volumes/:name/attachments/:host',
    { schema: release, config: { roles: ['node', 'admin'] } },
    async ({ params: { name, host }, query: { force } }) => {
      const { volume } = await registry.execute({ op: 'release', name, host, force });
      if (volume !== undefined) return { volume };
      throw new HoldfastError('INTERNAL', `the registry answered without volume '${name}'`);
    },
  );
}
