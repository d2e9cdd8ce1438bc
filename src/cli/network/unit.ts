import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { LametunError } from '../../errors.js';
import { replaceFile } from '../../linux/files/safe-files.js';
import { NEEDED, NEEDED_IN_HOMES } from '../../linux/process/capabilities.js';
import { runProgram } from '../../linux/process/program.js';
import { UNSHOWN } from '../../protocol/text.js';
import { DEFAULT_STATE } from './options.js';

/** The folder for an administrator's own units, systemd.unit(5). */
const DIRECTORY = '/etc/systemd/system';

/** The folders that `ProtectHome=read-only` makes read-only, and those that `PrivateTmp=` hides: systemd.exec(5). */
const HOMES = ['/home', '/root', '/run/user'] as const;
const TEMPORARY = ['/tmp', '/var/tmp'] as const;

export interface Unit {
  /** `lametun.service`. */
  readonly name: string;
  readonly text: string;
}

/** `/srv/vpn/work` is `lametun-srv-vpn-work.service`; a directory beside the default one gives its own name. */
function unitName(state: string): string {
  if (state === DEFAULT_STATE) return 'lametun.service';
  const path = state.replace(/^\/var\/lib\/(lametun-)?/, '').replace(/^\/+/, '');
  return `lametun-${path.replaceAll(/[^a-zA-Z0-9_.-]/g, '-').slice(0, 200)}.service`;
}

/** @param command the program and its arguments, the first an absolute path */
export function unitFor({ state }: { readonly state: string }, command: readonly string[]): Unit {
  // The sandbox must not hide what is run or written.
  const needs = (hidden: readonly string[]): boolean =>
    [state, ...command].some((path) => hidden.some((folder) => `${path}/`.startsWith(`${folder}/`)));
  const capabilities = [...NEEDED, ...(needs(HOMES) ? [NEEDED_IN_HOMES] : [])];
  return {
    name: unitName(state),
    text: `[Unit]
Description=lametun, a private network
Wants=network-online.target
After=network-online.target nss-lookup.target

[Service]
Type=exec
ExecStart=${command.map(quote).join(' ')}
Restart=on-failure
RestartSec=2s
# For a TUN device, addresses and routes; for a port below 1024.
CapabilityBoundingSet=${capabilities.map((name) => `CAP_${name}`).join(' ')}
NoNewPrivileges=yes
ProtectHome=${needs(HOMES) ? 'no' : 'read-only'}
PrivateTmp=${needs(TEMPORARY) ? 'no' : 'yes'}
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
# No MemoryDenyWriteExecute: Node.js compiles while it runs.

[Install]
WantedBy=multi-user.target
`,
  };
}

/** The state directory of a unit, as written in its text. */
const stateIn = (text: string): string | undefined =>
  /^ExecStart=.* up --state ("(?:[^"\\]|\\.)*"|\S+)/m.exec(text)?.[1];

/** systemd.syntax(7): quoted if necessary, `%` and `$` doubled; a newline becomes `\x0a`. */
function quote(argument: string): string {
  const text = argument.replaceAll('%', '%%').replaceAll('$', '$$$$');
  if (/^[\w@%+=:,./$-]+$/.test(text)) return text;
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replace(UNSEEN, (character) => {
      const code = character.charCodeAt(0).toString(16);
      return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
    });
  return `"${escaped}"`;
}

const UNSEEN = new RegExp(`[${UNSHOWN}]`, 'g');

export interface Installed {
  readonly path: string;
  /** Whether systemd has started it; otherwise it starts at the next boot with systemd. */
  readonly started: boolean;
}

/**
 * Writes the unit, and starts it if systemd is running.
 *
 * @throws LametunError
 */
export function install({ name, text }: Unit, directory = DIRECTORY): Installed {
  const path = `${directory}/${name}`;
  try {
    if (existsSync(path) && stateIn(readFileSync(path, 'utf8')) !== stateIn(text))
      throw new Error('it belongs to another state directory: choose a --state with another name');
    mkdirSync(dirname(path), { recursive: true });
    replaceFile(path, text, { mode: 0o644 });
  } catch (error) {
    throw new LametunError('linux', `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (!isBooted()) return { path, started: false };
  runProgram('systemctl', ['daemon-reload']);
  runProgram('systemctl', ['enable', '--now', name]);
  return { path, started: true };
}

export interface InstalledUnit {
  readonly name: string;
  readonly path: string;
}

/** The unit that `--install` wrote for a state directory, if it exists. */
export function installedUnit(state: string, directory = DIRECTORY): InstalledUnit | undefined {
  const name = unitName(state);
  const path = `${directory}/${name}`;
  const isThere = existsSync(path) && stateIn(readFileSync(path, 'utf8')) === quote(state);
  return isThere ? { name, path } : undefined;
}

/** Stops a unit until the next boot. @throws LametunError */
export function stopUnit({ name }: InstalledUnit): void {
  if (isBooted()) runProgram('systemctl', ['stop', name]);
}

/** Removes a unit for good. @throws LametunError */
export function removeUnit({ name, path }: InstalledUnit): void {
  if (isBooted()) runProgram('systemctl', ['disable', '--now', name]);
  rmSync(path, { force: true });
  if (isBooted()) runProgram('systemctl', ['daemon-reload']);
}

/** sd_booted(3). */
const isBooted = (): boolean => existsSync('/run/systemd/system');
