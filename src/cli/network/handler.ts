import { usage } from '../../errors.js';
import type { RunningHub } from '../../hub/start.js';
import type { ControlCommand } from '../../node/control/control.js';
import type { ControlHandler } from '../../node/control/control-connection.js';
import { nodeControl } from '../../node/control/node-control.js';
import type { RunningNode } from '../../node/control/running-node.js';

/**
 * Answers requests on the control socket of a process that runs a hub, a node or both. Only root may open the socket. On
 * the hub's machine root administers; elsewhere the hub decides.
 */
export function controlHandler(
  hub: RunningHub | undefined,
  current: () => RunningNode | undefined,
): ControlHandler {
  return async (request, answer, signal) => {
    const node = current();
    const why = whyNot(request.command, { hub: hub !== undefined, node: node !== undefined });
    if (why !== undefined) throw usage(why);
    if (request.command === 'admin' && hub !== undefined) {
      answer(await hub.administer(request.request));
    } else if (request.command === 'backup') {
      await hub!.backup(request.file);
      answer({});
    } else {
      await nodeControl(node!)(request, answer, signal);
    }
  };
}

/** Why a process cannot answer a command, or undefined if it can. */
export function whyNot(
  command: ControlCommand,
  runs: { readonly hub: boolean; readonly node: boolean },
): string | undefined {
  if (command === 'backup')
    return runs.hub ? undefined : 'the hub is on another machine: make the backup there';
  if (runs.node || command === 'admin') return undefined;
  return 'this machine is a hub and not a member: `lametun nodes` lists the members';
}
