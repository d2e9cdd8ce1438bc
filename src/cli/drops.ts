import { Command } from 'commander';
import { askDevice } from '../device/uapi/client.js';
import type { TunnelDrop } from '../tunnel/drops.js';

/** `lametun drops wg0`: what a running lametund dropped, and why. */
export function dropsCommand(): Command {
  return new Command('drops')
    .description('list what a lametund interface dropped, and why')
    .argument('<interface>', 'name of the interface, such as wg0')
    .option('--json', 'print one JSON object with the count of each reason')
    .allowExcessArguments(false)
    .action(async (device: string, { json = false }: { json?: boolean }) => {
      const counts = (await askDevice(device, 'get=drops')).map(
        ([reason, count]) => [reason, Number(count)] as const,
      );
      process.stdout.write(json ? `${JSON.stringify(Object.fromEntries(counts))}\n` : table(device, counts));
    });
}

/** Each reason in words. An unknown reason is shown as it is. */
const MEANING: ReadonlyMap<string, string> = new Map(
  Object.entries({
    malformed: 'not a WireGuard message, by type and length',
    down: 'arrived while the interface was down',
    'bad-mac1': 'handshake from someone who does not know our public key',
    'cookie-sent': 'handshake under load: answered with a cookie',
    'rate-limited': 'handshake under load: too many from one address',
    'bad-handshake': 'handshake that is not authentic',
    'unknown-peer': 'handshake from a public key that is not configured',
    'old-timestamp': 'handshake not newer than the last: replayed, or a clock went back',
    flooding: 'more than 50 handshakes per second from one peer',
    'bad-cookie': 'cookie reply that answers nothing',
    'unknown-index': 'packet for an unknown session, common after a restart',
    'bad-tag': 'packet that is not authentic',
    replayed: 'packet received before, or too late',
    'counter-limit': 'packet with a counter of 2^53 or more',
    'expired-key': 'packet under an expired session',
    'bad-inner-packet': 'content is not an IP packet, or has a wrong length',
    'not-allowed-source': "inner source is not in the peer's allowed IPs",
    'no-peer': "no peer's allowed IPs contain the destination",
    'no-endpoint': "the peer's endpoint is not known",
    'queue-full': 'too many packets waited for a handshake',
    'no-session': 'the handshake was given up',
    'too-big': 'too large for the path to the peer',
    congested: 'the kernel had no room for it',
    refused: 'the TUN device did not take it',
    unreachable: "no route to the peer's endpoint",
    busy: 'handshakes arrived faster than they were read',
    'not-the-relay': 'relay frame that did not come from the relay',
    congestion: 'congestion mark that the inner packet cannot carry',
  } satisfies Record<TunnelDrop, string>),
);

function table(device: string, counts: readonly (readonly [string, number])[]): string {
  if (counts.length === 0) return `${device} dropped nothing\n`;
  const sorted = counts.toSorted(([, a], [, b]) => b - a);
  const width = Math.max(...sorted.map(([, count]) => `${count}`.length));
  const lines = sorted.map(
    ([reason, count]) => `${`${count}`.padStart(width)}  ${reason.padEnd(18)}  ${MEANING.get(reason) ?? ''}`,
  );
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}
