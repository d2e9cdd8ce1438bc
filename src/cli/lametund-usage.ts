import { OFFLOADS_VARIABLE } from '../tunnel/offloads.js';

export const USAGE = 'Usage: lametund [-f/--foreground] INTERFACE-NAME\n';

/** The environment variables with descriptors. */
export const TUN_FD = 'WG_TUN_FD';
export const UAPI_FD = 'WG_UAPI_FD';
export const FOREGROUND = 'WG_PROCESS_FOREGROUND';

export interface Row {
  readonly name: string;
  readonly about: string;
}

export const OPTIONS: readonly Row[] = [
  { name: '-f, --foreground', about: 'stay in the foreground' },
  { name: '-h, --help', about: 'print this help' },
  { name: '--version', about: 'print the version' },
];

export const VARIABLES: readonly Row[] = [
  { name: 'LOG_LEVEL', about: 'choose what to log: verbose (or debug), error (default), or silent' },
  { name: FOREGROUND, about: 'stay in the foreground if this is 1' },
  { name: TUN_FD, about: 'use this open descriptor: a TUN device without packet information' },
  { name: UAPI_FD, about: 'use this open descriptor: a listening socket for the configuration' },
  { name: OFFLOADS_VARIABLE, about: 'allow only these offloads: none, or a list such as tun-tcp,send' },
];

/** What `lametund --help` prints. */
export function lametundHelp(): string {
  const rows = (list: readonly Row[]): string[] =>
    list.map(({ name, about }) => `  ${name.padEnd(23)}${about}`);
  return [USAGE, 'Options:', ...rows(OPTIONS), '', 'Environment:', ...rows(VARIABLES), ''].join('\n');
}
