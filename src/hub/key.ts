import { existsSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { LametunError } from '../errors.js';
import { createFile, readOwnFile, safeDirectory } from '../linux/safe-files.js';
import { type Crypto, LENGTH, type PrivateKey, secretBytes } from '../wireguard/crypto.js';

/**
 * The hub's private key from its file, 32 bytes in base64, mode 0600; it is made if there is none.
 *
 * @throws LametunError `state` when the file cannot be read or written, can be read by others, or holds no key
 */
export function loadHubKey(crypto: Crypto, file: string): PrivateKey {
  const text = read(file) ?? makeKey(crypto, file);
  const bytes = Buffer.from(text.trim(), 'base64');
  if (bytes.length !== LENGTH.key)
    throw new LametunError('state', `${file} holds no key: 32 bytes in base64`);
  const key = crypto.privateKey(bytes);
  bytes.fill(0);
  return key;
}

function read(file: string): string | undefined {
  try {
    return readOwnFile(existsSync(file) ? realpathSync(file) : file, { secret: true }); // secrets may be mounted as links
  } catch (error) {
    throw unusable(file, error as Error);
  }
}

/** Under its name there is a whole key or none, whatever happens meanwhile. @returns the key that is there now */
function makeKey(crypto: Crypto, file: string): string {
  const secret = secretBytes();
  crypto.random(secret);
  try {
    safeDirectory(dirname(file));
    createFile(file, `${Buffer.from(secret.buffer).toString('base64')}\n`); // or another process was faster
  } catch (error) {
    throw unusable(file, error as Error);
  } finally {
    secret.fill(0);
  }
  return read(file)!;
}

const unusable = (file: string, error: Error): LametunError =>
  error instanceof LametunError
    ? error
    : new LametunError('state', `the hub's key cannot be had: ${error.message} (${file})`, { cause: error });
