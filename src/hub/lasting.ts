/** What a network has for its lifetime. */
export interface Lasting {
  readonly name: string;
  /** The range of IPv4 addresses; undefined where that is not known. */
  readonly ipv4: string | undefined;
  /** Bytes. */
  readonly mtu: number;
}

interface Asked {
  readonly network?: string | undefined;
  readonly range?: string | undefined;
  readonly mtu?: number | undefined;
}

/** @returns which option cannot take effect, since the network is there already; undefined: all of them do */
export function whyNot(
  { network, range, mtu }: Asked,
  { name, ipv4, mtu: itsMtu }: Lasting,
): string | undefined {
  if (network !== undefined && network !== name)
    return `--network ${network}: this hub's network is called ${name}, which cannot change: leave --network out, or begin another with --state DIR`;
  if (mtu !== undefined && mtu !== itsMtu)
    return `--mtu ${mtu}: the network ${name} has an MTU of ${itsMtu}, which cannot change: leave --mtu out`;
  if (range !== undefined && range !== ipv4)
    return `--range ${range}: the network ${name} has the range ${ipv4}, which cannot change: leave --range out`;
  return undefined;
}
