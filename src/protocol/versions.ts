import { type Hello, PROTOCOL_VERSIONS, type Welcome } from './messages.js';

/** The newest version that both speak, if any. */
export function sharedVersion(ours: readonly number[], theirs: readonly number[]): number | undefined {
  const shared = ours.filter((version) => theirs.includes(version));
  return shared.length === 0 ? undefined : Math.max(...shared);
}

/** What a hub answers to a hello: the newest version that both speak, or that there is none. */
export function welcome(
  hello: Hello,
  program: string,
  speaks: readonly number[] = PROTOCOL_VERSIONS,
): Welcome {
  const protocol = sharedVersion(speaks, hello.protocol);
  if (protocol !== undefined) return { protocol, program };
  return { refused: versionsDiffer(hello, { protocol: speaks, program }), protocol: speaks, program };
}

interface Speaker {
  readonly protocol: readonly number[];
  readonly program: string;
}

/** Says so in words for whoever sits at the node: both versions, and which side must be updated. */
export function versionsDiffer(node: Speaker, hub: Speaker): string {
  const isNodeOlder = Math.max(...node.protocol) < Math.max(...hub.protocol);
  const update = isNodeOlder ? 'update lametun on this machine' : "update lametun on the hub's machine";
  return `this machine has ${spoken(node)}, the hub has ${spoken(hub)}: ${update}`;
}

const spoken = ({ program, protocol }: Speaker): string =>
  `${program} (protocol ${protocol.length === 0 ? 'unknown' : protocol.join(', ')})`;
