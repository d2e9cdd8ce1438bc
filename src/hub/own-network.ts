import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { NodeCrypto } from '../crypto/node-crypto.js';
import { LametunError } from '../errors.js';
import { makeAside } from '../linux/files/aside.js';
import { replaceFile } from '../linux/files/safe-files.js';
import type { Log } from '../log.js';
import type { Crypto, PrivateKey } from '../wireguard/crypto.js';
import {
  type HubKey,
  hubKeyText,
  makeHubKey,
  type NamedNetwork,
  nameNetwork,
  readHubKey,
  replaceHubKey,
} from './key.js';
import { type NetworkOptions, Registry } from './membership/registry.js';
import type { NetworkRecord, Store } from './membership/tables.js';
import { backup, readBackup, restore } from './store/backup.js';
import { databaseName, isPostgres, openStore } from './store/open.js';

/** Where a hub keeps its data. */
export interface HubStorage {
  readonly state: string;
  /** `postgres://...`; default: an SQLite file in the state directory. */
  readonly database?: string | undefined;
  /** Default: `hub.key` in the state directory. */
  readonly keyFile?: string | undefined;
  /** `lametun 0.1.0`, for nodes and backups. */
  readonly program?: string | undefined;
  readonly log: Log;
}

export interface OwnNetworkOptions extends HubStorage {
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly crypto: Crypto;
  /** The settings of a new network. */
  readonly network: NetworkOptions;
  /** Whether new nodes need approval; unchanged if not given, at first not. */
  readonly ask?: boolean | undefined;
  /** A hub has run here before, so use its key and its network instead of making new ones. */
  readonly existing?: boolean | undefined;
  /** Start another network with its own key, and set the old one aside. */
  readonly newNetwork?: boolean | undefined;
  /** Ends the wait for an unreachable database. */
  readonly signal?: AbortSignal | undefined;
}

export interface OwnNetwork {
  readonly privateKey: PrivateKey;
  readonly registry: Registry;
  /** The directory of the old network after `newNetwork`. */
  readonly replaced: string | undefined;
}

const NEW = 'or begin another network with --new-network, which keeps what is here aside';

/**
 * Opens or makes the network of a hub. Key and database belong together: the key's file names the network, and the database
 * contains the public key. If one of them is missing or of another network, the hub would tell all members that it does not
 * know them, so it does not start.
 *
 * After each step, the next start can continue or refuse, so nothing is lost whenever the process is killed.
 *
 * @throws LametunError `state` that names what does not belong together, and what to do
 */
export async function openOwnNetwork(options: OwnNetworkOptions): Promise<OwnNetwork> {
  const keyFile = keyFileOf(options);
  const found = readHubKey(options.crypto, keyFile);
  try {
    const mustExist =
      options.newNetwork !== true && (found?.network !== undefined || options.existing === true);
    const store = await openStore({
      database: databaseOf(options),
      log: options.log,
      signal: options.signal,
      absent: mustExist ? () => missing(options, keyFile, found?.network) : undefined,
    });
    try {
      return await opened(store, options, keyFile, found, mustExist);
    } catch (error) {
      await store.close();
      throw error;
    }
  } catch (error) {
    found?.privateKey.destroy();
    throw error;
  }
}

async function opened(
  store: Store,
  options: OwnNetworkOptions,
  keyFile: string,
  found: HubKey | undefined,
  mustExist: boolean,
): Promise<OwnNetwork> {
  const { crypto, newNetwork, log } = options;
  const before = await currentNetwork(store);
  let key = found;
  let replaced: string | undefined;
  if (newNetwork === true && (before !== undefined || found?.network !== undefined)) {
    replaced = await keepAside(options, store, before, found, keyFile);
    key = found === undefined ? makeHubKey(crypto, keyFile) : replaceHubKey(crypto, keyFile);
    found?.privateKey.destroy();
  }
  if (key === undefined) {
    if (before !== undefined) throw foreign(options, keyFile, before);
    if (mustExist) throw missing(options, keyFile, undefined);
    key = makeHubKey(crypto, keyFile);
  }
  const { network: named, privateKey } = key;
  const hubKey = base64(privateKey.publicKey.bytes);
  const registry = await Registry.open(store, {
    ...{ network: options.network, ask: options.ask, hubKey, replace: replaced !== undefined },
    clock: options.clock,
    randomId: (bytes) => randomBytes(bytes).toString('hex'),
    check(network) {
      if (network === undefined) {
        if (mustExist) throw missing(options, keyFile, named);
      } else if (named !== undefined && named.id !== network.id) {
        throw new LametunError(
          'state',
          `${keyFile} is the key of the hub of ${named.name}, but ${where(options)} contains another network, ${network.name}: correct --database or --key, ${NEW}`,
        );
      } else if (network.hub_key !== hubKey) throw foreign(options, keyFile, network);
    },
  });
  if (named === undefined && !nameNetwork(keyFile, registry.info))
    log.verbose(`cannot write the network's name to ${keyFile}`);
  return { privateKey, registry, replaced };
}

/** Writes everything of the hub that is replaced to a directory of its own. */
async function keepAside(
  { state, program }: HubStorage,
  store: Store,
  network: NetworkRecord | undefined,
  key: HubKey | undefined,
  keyFile: string,
): Promise<string> {
  const directory = makeAside(state, 'replaced');
  if (network !== undefined) await backup(store, join(directory, `${network.name}.backup`), program);
  if (key !== undefined) replaceFile(join(directory, 'hub.key'), hubKeyText(keyFile));
  return directory;
}

/** Writes the database of a stopped hub to a file. @throws LametunError */
export async function backupHub(place: HubStorage, file: string): Promise<void> {
  const path = databaseOf(place);
  if (!isPostgres(path) && !existsSync(path)) {
    throw new LametunError(
      'usage',
      `no hub to back up here (${path} does not exist): run this on the hub's machine, with its --state or --database`,
    );
  }
  const store = await openStore({ database: path, log: place.log });
  try {
    await backup(store, file, place.program);
  } finally {
    await store.close();
  }
}

export interface Restored {
  readonly network: string;
  readonly nodes: number;
  /** The directory of the old data. */
  readonly aside: string | undefined;
}

/**
 * Replaces the database of a stopped hub with a backup, and sets the old data aside.
 *
 * @param replace even if the database contains another network
 * @throws LametunError `usage` when the file is not a backup; `state` when it does not fit the key or the database
 */
export async function restoreHub(
  place: HubStorage,
  file: string,
  { replace = false } = {},
): Promise<Restored> {
  const content = readBackup(file);
  const { id, name, hub_key } = content.network;
  const keyFile = keyFileOf(place);
  const key = readHubKey(new NodeCrypto(), keyFile);
  const publicKey = key && base64(key.privateKey.publicKey.bytes);
  key?.privateKey.destroy();
  const isOther = key?.network !== undefined && key.network.id !== id;
  if (isOther || (publicKey !== undefined && publicKey !== hub_key))
    throw new LametunError(
      'state',
      `${file} is a backup of network ${name}, but ${keyFile} is the key of another hub${key?.network === undefined ? '' : `, of ${key.network.name}`}: put that network's hub.key there first`,
    );
  const store = await openStore({ database: databaseOf(place), log: place.log });
  try {
    const before = await currentNetwork(store);
    if (before !== undefined && before.id !== id && !replace)
      throw new LametunError(
        'state',
        `${where(place)} contains another network, ${before.name}, than the backup, ${name}: correct --database, or pass --replace, which keeps the old network`,
      );
    const aside = before && makeAside(place.state, 'replaced');
    if (aside !== undefined) await backup(store, join(aside, `${before!.name}.backup`), place.program);
    return { ...(await restore(store, content, randomBytes(8).toString('hex'))), aside };
  } finally {
    await store.close();
  }
}

const keyFileOf = ({ state, keyFile }: HubStorage): string => keyFile ?? join(state, 'hub.key');

const databaseOf = ({ state, database }: HubStorage): string => database ?? join(state, 'hub.sqlite');

const currentNetwork = (store: Store): Promise<NetworkRecord | undefined> =>
  store.read((tables) => tables.network());

const where = (place: HubStorage): string => `the database ${databaseName(databaseOf(place))}`;

function missing(place: HubStorage, keyFile: string, network: NamedNetwork | undefined): LametunError {
  const whose =
    network === undefined
      ? `a hub ran on ${place.state} before`
      : `${keyFile} is the key of the hub of ${network.name}`;
  return new LametunError(
    'state',
    `${whose}, but ${where(place)} contains no network: run \`lametun restore BACKUP\` first, correct --database, ${NEW}`,
  );
}

const foreign = (place: HubStorage, keyFile: string, { name }: NetworkRecord): LametunError =>
  new LametunError(
    'state',
    `${where(place)} contains network ${name}, but ${keyFile} is not the key of its hub: put that hub.key there, correct --key or --database, ${NEW}`,
  );

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
