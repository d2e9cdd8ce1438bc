import { quoteArgument, quotePath } from './quote.js';
import { sandbox } from './sandbox.js';

export interface Unit {
  /** `lametun.service`. */
  readonly name: string;
  readonly text: string;
}

const STATES = '/var/lib/';
const NAME = 'lametun';
/** The options that an administrator adds in /etc/default/lametun. */
const OPTIONS = 'LAMETUN_OPTIONS';
const INSTANCE = /^\/var\/lib\/lametun-([A-Za-z0-9_.-]{1,200})$/;

/** How long the service manager waits for a sign of life. */
const WATCHDOG = '30s';

/**
 * The unit of a state directory: `/var/lib/lametun` has `lametun.service`, `/var/lib/lametun-work` has
 * `lametun@work.service`, and `/srv/vpn/work` has `lametun-srv-vpn-work.service`.
 */
export function unitName(state: string): string {
  if (state === STATES + NAME) return `${NAME}.service`;
  const instance = INSTANCE.exec(state)?.[1];
  if (instance !== undefined) return `${NAME}@${instance}.service`;
  const path = state.replace(/^\/+/, '').replaceAll(/[^a-zA-Z0-9_.-]/g, '-');
  return `${NAME}-${path.slice(0, 200)}.service`;
}

/** The unit in which a package may have what runs on a state directory: `lametun.service` or `lametun@.service`. */
export const packagedName = (state: string): string | undefined =>
  state === STATES + NAME ? `${NAME}.service` : INSTANCE.test(state) ? `${NAME}@.service` : undefined;

export interface NetworkUnit {
  readonly state: string;
  /** The program and its arguments, the first an absolute path. */
  readonly command: readonly string[];
  /** Files outside the state directory that it reads and writes: a key, an SQLite database. */
  readonly files?: readonly string[];
}

/** A unit that runs the hub or node of one state directory. */
export function networkUnit({ state, command, files = [] }: NetworkUnit): Unit {
  const folders = files.map((file) => file.slice(0, file.lastIndexOf('/')) || '/');
  const isBeside = state.startsWith(STATES) && /^[\w.-]+$/.test(state.slice(STATES.length));
  const text = networkText({
    ...{ start: command.map(quoteArgument).join(' '), runs: [...command, state] },
    ...{ directory: isBeside ? state.slice(STATES.length) : undefined },
    writes: isBeside ? folders : [state, ...folders],
  });
  return { name: unitName(state), text };
}

/**
 * The units of a package: for the default network, for other networks, for plain WireGuard interfaces.
 *
 * @param programs absolute paths
 */
export function packagedUnits(programs: { readonly lametun: string; readonly lametund: string }): Unit[] {
  const network = (name: string): string => {
    const up = `${quoteArgument(programs.lametun)} up --state ${STATES}${name} $${OPTIONS}`;
    return networkText({ start: up, runs: [programs.lametun], directory: name, writes: [], settings: true });
  };
  return [
    { name: `${NAME}.service`, text: network(NAME) },
    { name: `${NAME}@.service`, text: network(`${NAME}-%i`) },
    { name: 'lametund@.service', text: interfaceText(programs.lametund) },
  ];
}

/** What all units have in common: they say when they are ready, and that they still work. */
const SERVICE = `Type=notify
NotifyAccess=main
WatchdogSec=${WATCHDOG}
# A process that hangs cannot clean up; the next one does.
WatchdogSignal=SIGKILL
Restart=on-failure
RestartSec=2s
# Wrong arguments stay wrong.
RestartPreventExitStatus=2`;

/** What an administrator sets for the units of a package. */
const SETTINGS = 'Environment=LAMETUN_OPTIONS=\nEnvironmentFile=-/etc/default/lametun\n';

interface NetworkText {
  readonly start: string;
  readonly runs: readonly string[];
  /** The state directory's name in /var/lib, which systemd makes. */
  readonly directory: string | undefined;
  readonly writes: readonly string[];
  readonly settings?: boolean;
}

function networkText({ start, runs, directory, writes, settings }: NetworkText): string {
  const mounts = writes.length === 0 ? '' : `RequiresMountsFor=${writes.map(quotePath).join(' ')}\n`;
  return `[Unit]
Description=lametun, a private network${directory?.endsWith('%i') ? ' (%i)' : ''}
Documentation=man:lametun(1)
Wants=network-online.target
After=network-online.target nss-lookup.target dbus.service systemd-resolved.service
${mounts}
[Service]
${SERVICE}
${settings ? SETTINGS : ''}ExecStart=${start}
${directory === undefined ? '' : `StateDirectory=${directory}\nStateDirectoryMode=0700\n`}${sandbox({ runs, writes, isMember: true })}
[Install]
WantedBy=multi-user.target
`;
}

/** A WireGuard interface that is configured by `wg` and `ip`, and keeps everything over a restart. */
const interfaceText = (lametund: string): string => `[Unit]
Description=WireGuard interface %i in user space
Documentation=man:lametund(8)
Wants=network-pre.target
Before=network-pre.target

[Service]
${SERVICE}
${SETTINGS}ExecStart=${quoteArgument(lametund)} -f %i
# The device and the configuration stay here over a restart or crash, and go when the service is stopped.
FileDescriptorStoreMax=2
RuntimeDirectory=wireguard
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
${sandbox({ runs: [lametund], writes: [], isMember: false })}
[Install]
WantedBy=multi-user.target
`;
