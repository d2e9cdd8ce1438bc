import { Command } from 'commander';
import { askDevice } from '../device/uapi/client.js';
import type { TunnelDrop } from '../tunnel/shared-drops.js';

/** `lametun drops wg0`: what a running lametund dropped, and why. */
export function dropsCommand(): Command {
  return new Command('drops')
    .description('say what a WireGuard device of lametund dropped, and why')
    .argument('<interface>', 'the device: wg0')
    .option('--json', 'for programs: one object, counts by reason')
    .allowExcessArguments(false)
    .action(async (device: string, { json = false }: { json?: boolean }) => {
      const counts = (await askDevice(device, 'get=drops')).map(
        ([reason, count]) => [reason, Number(count)] as const,
      );
      process.stdout.write(json ? `${JSON.stringify(Object.fromEntries(counts))}\n` : table(device, counts));
    });
}

/** In words, for people. A reason that is not here is shown as it is. */
const MEANING: ReadonlyMap<string, string> = new Map(
  Object.entries({
    malformed: 'not a WireGuard message, by type and length',
    down: 'came while the device was down',
    'bad-mac1': 'handshake from somebody who does not know our public key',
    'cookie-sent': 'handshake under load: the sender was asked to prove its address',
    'rate-limited': 'handshake under load: too many from one address',
    'bad-handshake': 'handshake that is not authentic',
    'unknown-peer': 'handshake from a public key that is not configured',
    'old-timestamp': 'handshake that is not newer than one before: replayed, or a clock went back',
    flooding: 'more handshakes of a peer than 50 a second',
    'bad-cookie': 'cookie reply that answers nothing',
    'unknown-index': 'for a session that does not exist (any more)',
    'bad-tag': 'packet that is not authentic',
    replayed: 'packet that was received before, or is too late',
    'counter-limit': 'packet with a counter of 2^53 or more',
    'expired-key': 'packet under a session that is too old',
    'bad-inner-packet': 'inside is no IP packet, or its length lies',
    'not-allowed-source': "the inner source is not among the peer's allowed IPs",
    'no-peer': "no peer's allowed IPs hold the destination",
    'no-endpoint': "the peer's address is not known",
    'queue-full': 'too many packets waited for a handshake',
    'no-session': 'the handshake was given up',
    'too-big': 'larger than the path to the peer takes',
    congested: 'the kernel had no room for it',
    refused: 'the TUN device would not take it',
    unreachable: "no route leads to the peer's address",
    busy: 'more handshakes than could be looked at',
    'not-the-relay': "relay frame from another address than the relay's",
    congestion: 'marked as congestion, and the packet inside cannot carry the mark',
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
