import { LametunError } from '../../errors.js';
import type { RunningHub } from '../../hub/start.js';
import type { ControlHandler } from '../../network/control-socket.js';
import { nodeControl } from '../../network/node-control.js';
import type { RunningNode } from '../../network/running-node.js';
import { parseAdminRequest } from '../../wire/schemas.js';

/**
 * Does what is asked over the control socket of a process that runs a hub, a node or both. Whoever may open the socket
 * is root here: on the hub's machine he administers, elsewhere the hub decides.
 */
export function controlHandler(
  hub: RunningHub | undefined,
  current: () => RunningNode | undefined,
): ControlHandler {
  return async (request, answer, signal) => {
    const node = current();
    if (request.command === 'admin' && hub !== undefined) {
      answer(await hub.administer(parseAdminRequest(request.request)));
    } else if (request.command === 'backup') {
      if (hub === undefined)
        throw new LametunError('usage', 'the hub is on another machine: make the backup there');
      await hub.backup(request.file);
      answer({});
    } else if (node !== undefined) {
      await nodeControl(node)(request, answer, signal);
    } else {
      throw new LametunError('usage', 'this machine is a hub and no node: `lametun nodes` lists those');
    }
  };
}
