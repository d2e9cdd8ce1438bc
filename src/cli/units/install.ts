import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { replaceFile } from '../../linux/files/safe-files.js';
import { runProgram } from '../../linux/process/program.js';
import { quoteArgument } from './quote.js';
import { packagedName, type Unit, unitName } from './unit-text.js';

/** The folder for an administrator's own units, systemd.unit(5); those for the units of packages. */
const OWN = '/etc/systemd/system';
const PACKAGED = ['/usr/local/lib/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'] as const;

/** Where units are, and whether systemd runs; tests name folders of their own. */
export interface Places {
  readonly own: string;
  readonly packaged: readonly string[];
  /** sd_booted(3). */
  readonly isBooted: boolean;
}

const systemPlaces = (): Places => ({
  own: OWN,
  packaged: PACKAGED,
  isBooted: existsSync('/run/systemd/system'),
});

/** The state directory of a unit, as written in its text. */
const stateIn = (text: string): string | undefined =>
  /^ExecStart=.* up --state ("(?:[^"\\]|\\.)*"|\S+)/m.exec(text)?.[1];

export interface InstalledUnit {
  readonly name: string;
  /** The file that `--install` wrote; undefined for a package's unit. */
  readonly path?: string;
}

export interface Installed extends InstalledUnit {
  /** Whether systemd has started it; otherwise it starts at the next boot with systemd. */
  readonly started: boolean;
}

/** The unit that a package has for a state directory, if there is one. */
export function packagedUnit(state: string, { packaged } = systemPlaces()): InstalledUnit | undefined {
  const file = packagedName(state);
  const isThere = file !== undefined && packaged.some((folder) => existsSync(`${folder}/${file}`));
  return isThere ? { name: unitName(state) } : undefined;
}

/**
 * Enables the unit of a package, and starts it if systemd is running. Removes a unit that an earlier `--install` wrote
 * instead.
 *
 * @throws LametunError
 */
export function enablePackaged(state: string, { name }: InstalledUnit, places = systemPlaces()): Installed {
  const own = ownUnit(state, places);
  if (own !== undefined) rmSync(own.path);
  return { name, started: enable(name, places) };
}

/**
 * Writes a unit, and starts it if systemd is running.
 *
 * @throws LametunError
 */
export function install({ name, text }: Unit, places = systemPlaces()): Installed {
  const path = `${places.own}/${name}`;
  try {
    if (existsSync(path) && stateIn(readFileSync(path, 'utf8')) !== stateIn(text))
      throw new Error('it belongs to another state directory: choose a --state with another name');
    mkdirSync(places.own, { recursive: true });
    replaceFile(path, text, { mode: 0o644 });
  } catch (error) {
    throw new LametunError('linux', `cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
  return { name, path, started: enable(name, places) };
}

function enable(name: string, { isBooted }: Places): boolean {
  if (!isBooted) return false;
  runProgram('systemctl', ['daemon-reload']);
  runProgram('systemctl', ['enable', '--now', name]);
  return true;
}

/** The unit that runs a state directory, if there is one: that of `--install`, or a package's that is enabled. */
export function installedUnit(state: string, places = systemPlaces()): InstalledUnit | undefined {
  const own = ownUnit(state, places);
  if (own !== undefined) return own;
  const packaged = packagedUnit(state, places);
  if (packaged === undefined) return undefined;
  const wanted = `${places.own}/multi-user.target.wants/${packaged.name}`;
  return lstatSync(wanted, { throwIfNoEntry: false }) === undefined ? undefined : packaged;
}

function ownUnit(state: string, { own }: Places): Required<InstalledUnit> | undefined {
  const name = unitName(state);
  const path = `${own}/${name}`;
  const isThere = existsSync(path) && stateIn(readFileSync(path, 'utf8')) === quoteArgument(state);
  return isThere ? { name, path } : undefined;
}

/** Stops a unit until the next boot. @throws LametunError */
export function stopUnit({ name }: InstalledUnit, { isBooted } = systemPlaces()): void {
  if (isBooted) runProgram('systemctl', ['stop', name]);
}

/** Stops a unit and disables it for good; removes the file that `--install` wrote. @throws LametunError */
export function removeUnit({ name, path }: InstalledUnit, { own, isBooted } = systemPlaces()): void {
  if (isBooted) runProgram('systemctl', ['disable', '--now', name]);
  else rmSync(`${own}/multi-user.target.wants/${name}`, { force: true });
  if (path === undefined) return;
  rmSync(path, { force: true });
  if (isBooted) runProgram('systemctl', ['daemon-reload']);
}
