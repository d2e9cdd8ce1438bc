import { type Hello, PROTOCOL_VERSIONS, type Welcome } from './messages.js';

/** The newest common version, if any. */
export function sharedVersion(ours: readonly number[], theirs: readonly number[]): number | undefined {
  const shared = ours.filter((version) => theirs.includes(version));
  return shared.length === 0 ? undefined : Math.max(...shared);
}

/** A hub's answer to a hello: the newest common version, or a refusal. */
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

/** The refusal for the user of the node: both versions, and which side to update. */
export function versionsDiffer(node: Speaker, hub: Speaker): string {
  const isNodeOlder = Math.max(...node.protocol) < Math.max(...hub.protocol);
  const update = isNodeOlder ? 'update lametun on this machine' : "update lametun on the hub's machine";
  return `this machine has ${spoken(node)}, the hub has ${spoken(hub)}: ${update}`;
}

const spoken = ({ program, protocol }: Speaker): string =>
  `${program} (protocol ${protocol.length === 0 ? 'unknown' : protocol.join(', ')})`;
