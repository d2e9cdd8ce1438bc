import { dirname } from 'node:path';
import { LametunError } from '../errors.js';
import { createFile, readOwnFile, replaceFile, safeDirectory, safeFile } from '../linux/files/safe-files.js';
import { isLabel } from '../protocol/label.js';
import { type Crypto, LENGTH, type PrivateKey, secretBytes } from '../wireguard/crypto.js';

/** The network that a hub's key belongs to. */
export interface NamedNetwork {
  readonly id: string;
  readonly name: string;
}

export interface HubKey {
  readonly privateKey: PrivateKey;
  /** The network it served; undefined if none. */
  readonly network: NamedNetwork | undefined;
}

/** The key, 32 bytes in base64; below it, once it has served a network, `network ID NAME`. */
const NETWORK = /^network ([\w.-]{1,64}) (\S+)$/;

/**
 * Reads the hub's private key from its file, mode 0600.
 *
 * @returns undefined when there is no such file
 * @throws LametunError `state` when the file cannot be read, can be read by others, or contains no key; `usage` when others could
 *   replace it
 */
export function readHubKey(crypto: Crypto, file: string): HubKey | undefined {
  const text = read(file);
  if (text === undefined) return undefined;
  const [first = '', second, ...rest] = text.trimEnd().split('\n');
  const bytes = Buffer.from(first.trim(), 'base64');
  const [, id, name = ''] = NETWORK.exec(second ?? '') ?? [];
  if (bytes.length !== LENGTH.key || rest.length > 0 || (second !== undefined && !isLabel(name)))
    throw new LametunError(
      'state',
      `${file} contains no hub key: restore it from where you keep it with the backups`,
    );
  const privateKey = crypto.privateKey(bytes);
  bytes.fill(0);
  return { privateKey, network: id === undefined ? undefined : { id, name } };
}

/**
 * Makes a key for a new network. The file has a whole key or does not exist, whatever happens in between.
 *
 * @returns the key in the file, which may be another process's
 * @throws LametunError `state` when the file cannot be written
 */
export function makeHubKey(crypto: Crypto, file: string): HubKey {
  attempt(file, () => {
    safeDirectory(dirname(file));
    withFreshKey(crypto, (text) => createFile(file, text));
  });
  return readHubKey(crypto, file)!;
}

/** Replaces the key in the file with a new one. @throws LametunError `state`; then the old key stays */
export function replaceHubKey(crypto: Crypto, file: string): HubKey {
  attempt(file, () => withFreshKey(crypto, (text) => replaceFile(real(file), text)));
  return readHubKey(crypto, file)!;
}

/**
 * Stores which network the key serves.
 *
 * @returns false when the file cannot be changed, such as a mounted secret
 * @throws LametunError `state` when the disk is full or broken; then the file stays unchanged
 */
export function nameNetwork(file: string, { id, name }: NamedNetwork): boolean {
  const key = read(file)!.split('\n')[0]!.trim();
  try {
    replaceFile(real(file), `${key}\nnetwork ${id} ${name}\n`);
    return true;
  } catch (error) {
    if (READ_ONLY.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw unusable(file, error as Error);
  }
}

/** The content of the file, to store it elsewhere. */
export const hubKeyText = (file: string): string => read(file)!;

const READ_ONLY: ReadonlySet<string> = new Set(['EROFS', 'EACCES', 'EPERM', 'EBUSY', 'EXDEV']);

/** Secrets may be mounted as links. */
const real = (file: string): string => safeFile(file) ?? file;

const read = (file: string): string | undefined =>
  attempt(file, () => readOwnFile(real(file), { secret: true }));

function withFreshKey(crypto: Crypto, use: (text: string) => void): void {
  const secret = secretBytes();
  crypto.random(secret);
  try {
    use(`${Buffer.from(secret.buffer).toString('base64')}\n`);
  } finally {
    secret.fill(0);
  }
}

function attempt<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw unusable(file, error as Error);
  }
}

const unusable = (file: string, error: Error): LametunError =>
  error instanceof LametunError
    ? error
    : new LametunError('state', `cannot read the hub's key ${file}: ${error.message}`, { cause: error });
