/** Operations on attributes. */
import type { AttributeChange } from '@holdfast/protocol';
import type { SetAttributesRequest } from '../kernel/requests.ts';
import { attributesReply, type HandlerTable } from './handler.ts';

/** Handlers of GETATTR and SETATTR. */
export const ATTRIBUTE_HANDLERS: HandlerTable<'getattr' | 'setattr'> = {
  getattr: async (_body, request, state) => {
    return attributesReply(await state.fileSystem.getAttributes(request.node, request), state);
  },

  setattr: async (body, request, state) => {
    const change = changeOf(body);
    // The kernel may ask for nothing that the daemon does not do by itself, such as a new ctime.
    const answer =
      Object.keys(change).length === 0
        ? await state.fileSystem.getAttributes(request.node, request)
        : await state.fileSystem.setAttributes(request.node, change, request);
    return attributesReply(answer, state);
  },
};

function changeOf({
  op: _op,
  handle: _handle,
  killPrivileges,
  ...fields
}: SetAttributesRequest): AttributeChange {
  return killPrivileges ? { ...fields, killPrivileges } : fields;
}
