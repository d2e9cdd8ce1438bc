import type { Cidr } from '../../src/ip/cidr.js';
import type { Forwarding } from '../../src/linux/host/forwarding.js';
import { Host } from '../../src/linux/host/host.js';

/** What a tunnel or a node forwards, and for which device. */
export type ForwardingOptions = Forwarding & { readonly device: string };

/** Forwards as a tunnel does, and nothing else, in the network namespace of the calling thread. */
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

/** Undoes what processes that are dead have left, as whatever starts next does. */
export function sweepForwarding(): void {
  const host = new Host({ device: 'none', desired: () => ({}) });
  host.reconcile();
  host.stop();
}
