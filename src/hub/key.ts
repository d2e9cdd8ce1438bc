import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { LametunError } from '../errors.js';
import { type Crypto, LENGTH, type PrivateKey, secretBytes } from '../wireguard/crypto.js';

/**
 * The hub's private key from its file, 32 bytes in base64, mode 0600; it is made if there is none.
 *
 * @throws LametunError `state` when the file cannot be read or written, can be read by others, or holds no key
 */
export function loadHubKey(crypto: Crypto, file: string): PrivateKey {
  let text: string;
  try {
    text = readFileSync(file, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(file, error as Error);
    makeKey(crypto, file);
    text = readFileSync(file, 'latin1');
  }
  if ((statSync(file).mode & 0o077) !== 0) {
    throw new LametunError('state', `others can read the hub's key: chmod 600 ${file}`);
  }
  const bytes = Buffer.from(text.trim(), 'base64');
  if (bytes.length !== LENGTH.key)
    throw new LametunError('state', `${file} holds no key: 32 bytes in base64`);
  const key = crypto.privateKey(bytes);
  bytes.fill(0);
  return key;
}

/** Under its name there is a whole key or none, whatever happens meanwhile. */
function makeKey(crypto: Crypto, file: string): void {
  const secret = secretBytes();
  crypto.random(secret);
  const partial = `${file}.${process.pid}`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const fd = openSync(partial, 'w', 0o600);
    try {
      writeSync(fd, `${Buffer.from(secret.buffer).toString('base64')}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    linkSync(partial, file); // unlike a rename, it never replaces a key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unusable(file, error as Error);
  } finally {
    rmSync(partial, { force: true });
    secret.fill(0);
  }
}

const unusable = (file: string, error: Error): LametunError =>
  new LametunError('state', `the hub's key cannot be had: ${error.message} (${file})`, { cause: error });
