import type { Cidr } from '../../src/ip/cidr.js';
import type { Forwarding } from '../../src/linux/host/forwarding.js';
import { Host } from '../../src/linux/host/host.js';

/** What to forward, and for which interface. */
export type ForwardingOptions = Forwarding & { readonly device: string };

/** Sets up a tunnel's forwarding, and nothing else, in the network namespace of the calling thread. */
export function startForwarding({ device, ...forwarding }: ForwardingOptions) {
  let desired: Forwarding = forwarding;
  const host = new Host({ device, desired: () => ({ forwarding: desired }) });
  const want = (wanted: Forwarding): void => {
    desired = wanted;
    host.reconcile();
    if (host.failure === undefined) return;
    const { failure } = host;
    host.stop();
    throw failure;
  };
  want(forwarding);
  return {
    update: (destinations: readonly Cidr[]) => want({ destinations }),
    stop: () => host.stop(),
  };
}

/** Removes the rules that dead processes have left behind, as every start of lametun does. */
export function sweepForwarding(): void {
  const host = new Host({ device: 'none', desired: () => ({}) });
  host.reconcile();
  host.stop();
}
