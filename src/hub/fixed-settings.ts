/** The settings of a network that never change. */
export interface FixedSettings {
  readonly name: string;
  /** The IPv4 range; undefined if unknown. */
  readonly ipv4: string | undefined;
  /** Bytes. */
  readonly mtu: number;
}

interface Requested {
  readonly network?: string | undefined;
  readonly range?: string | undefined;
  readonly mtu?: number | undefined;
}

/** @returns which option contradicts the existing network, and what to do; undefined if none does */
export function contradiction(
  { network, range, mtu }: Requested,
  { name, ipv4, mtu: itsMtu }: FixedSettings,
): string | undefined {
  if (network !== undefined && network !== name)
    return `--network ${network}: this hub's network is called ${name}, and the name cannot change: leave --network out, or start another network with --state DIR`;
  if (mtu !== undefined && mtu !== itsMtu)
    return `--mtu ${mtu}: the network ${name} has an MTU of ${itsMtu}, which cannot change: leave --mtu out`;
  if (range !== undefined && ipv4 !== undefined && range !== ipv4)
    return `--range ${range}: the network ${name} has the range ${ipv4}, which cannot change: leave --range out`;
  return undefined;
}
