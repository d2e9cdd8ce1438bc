import { OPTIONS, VARIABLES } from '../../src/cli/lametund-usage.js';
import { OFFLOADS, OFFLOADS_VARIABLE, type Offload } from '../../src/tunnel/offloads.js';
import {
  bold,
  examples,
  italic,
  page,
  paragraphs,
  references,
  type Source,
  section,
  sentence,
  subsection,
  terms,
} from './roff.js';

/** `lametund.8`. */
export const lametundPage = (source: Source): string =>
  page('lametund', 8, source, [
    ...section('NAME', ['lametund \\- WireGuard in user space']),
    ...section('SYNOPSIS', [
      `${bold('lametund')} [${bold('-f')} | ${bold('--foreground')}] ${italic('INTERFACE-NAME')}`,
    ]),
    ...section('DESCRIPTION', paragraphs(ABOUT)),
    ...section(
      'OPTIONS',
      terms(OPTIONS.map(({ name, about }) => [name.split(', ').map(bold).join(', '), sentence(about)])),
    ),
    ...section(
      'SIGNALS',
      paragraphs(['SIGINT, SIGTERM and SIGHUP end the program, and it undoes what it set up.']),
    ),
    ...section('EXIT STATUS', terms(EXIT)),
    ...section('FILES', terms(FILES)),
    ...section('ENVIRONMENT', [
      ...terms(VARIABLES.map(({ name, about }) => [bold(name), sentence(about)])),
      ...subsection('Offloads', [
        ...paragraphs([
          `These can be named in \`${OFFLOADS_VARIABLE}\`. Without it, lametund uses all that work on this machine.`,
        ]),
        ...terms(OFFLOADS.map((offload) => [bold(offload), OFFLOAD_TEXTS[offload]])),
      ]),
    ]),
    ...section('EXAMPLES', examples(EXAMPLES)),
    ...section(
      'SECURITY',
      paragraphs(['Nobody has audited this code. Where security matters, use the WireGuard of the kernel.']),
    ),
    ...section(
      'SEE ALSO',
      references([
        ['lametun', 1],
        ['lametun-drops', 1],
        ['wg', 8],
        ['wg-quick', 8],
      ]),
    ),
  ]);

const ABOUT = [
  'lametund makes a WireGuard interface. `wg`(8) and `wg-quick`(8) configure it. The command line and the environment are those of wireguard-go, whose place it can take.',
  'lametund goes to the background once `wg` can configure the interface. If it cannot start, it prints one line. It ends when its device or its socket is removed, for instance by `ip link del`.',
  'The log goes to standard output; in the background, only if `LOG_LEVEL` is set. It never contains keys or packets.',
];

const EXIT = [
  ['0', 'The interface is ready, or lametund has ended as it should.'],
  ['1', 'It could not start.'],
  ['2', 'The arguments or the environment need a change.'],
] as const;

const FILES = [
  [
    italic('/var/run/wireguard/INTERFACE-NAME.sock'),
    'The socket through which `wg` configures the interface.',
  ],
  [italic('/etc/wireguard/INTERFACE-NAME.conf'), 'The configuration, with `wg-quick`.'],
  [italic('/dev/net/tun'), 'The device of the kernel that makes interfaces.'],
] as const;

const OFFLOAD_TEXTS: Readonly<Record<Offload, string>> = {
  'tun-tcp': 'Exchange many TCP segments with the TUN device at once.',
  'tun-udp': 'Exchange many UDP datagrams with the TUN device at once.',
  send: 'Send runs of datagrams with one system call.',
  receive: 'Receive runs of datagrams with one system call.',
  simd: 'Compute checksums with the SIMD instructions of WebAssembly.',
  evp: 'Call OpenSSL directly.',
};

const EXAMPLES = [
  {
    run: 'WG_QUICK_USERSPACE_IMPLEMENTATION=lametund wg-quick up wg0',
    does: 'use lametund where the kernel has no WireGuard',
  },
  { run: 'lametund wg0', does: 'make an interface to configure by hand' },
  { run: 'LOG_LEVEL=verbose lametund -f wg0', does: 'stay in the foreground, and log everything' },
  { run: 'ip link del wg0', does: 'end it' },
];
