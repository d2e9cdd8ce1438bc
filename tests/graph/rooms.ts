/** A room of `src/`, and its place in the picture. */
export interface Room {
  readonly name: string;
  /** Its contents in a few words. */
  readonly about: string;
  /** It does no I/O: `tsconfig.pure.json` compiles it. */
  readonly pure?: true;
  /** Its column from the left, in steps of one half. */
  readonly column: number;
  readonly mayImport: readonly string[];
  /** The packages that it may import. Rooms that are not pure may also import `node:` modules. */
  readonly packages?: readonly string[];
}

/** The rooms by floor, from the ground up. A room may import only rooms of lower floors, and only those it lists. */
export const FLOORS: readonly (readonly Room[])[] = [
  [{ name: 'ip', about: 'addresses and packets', pure: true, column: 1, mayImport: [] }],
  [
    { name: 'linux', about: 'system calls', column: 0.5, mayImport: ['ip'], packages: ['koffi'] },
    { name: 'wireguard', about: 'the protocol', pure: true, column: 1.5, mayImport: ['ip'] },
  ],
  [
    { name: 'packets', about: 'many at a time', column: 0, mayImport: ['ip', 'linux'] },
    {
      name: 'crypto',
      about: 'AEAD, X25519, BLAKE2s',
      column: 1,
      mayImport: ['ip', 'wireguard', 'linux'],
      packages: ['@noble/ciphers/chacha.js'],
    },
    {
      name: 'protocol',
      about: 'between nodes and hub',
      pure: true,
      column: 2,
      mayImport: ['ip', 'wireguard'],
      packages: ['valibot', '@scure/base'],
    },
  ],
  [
    { name: 'plain', about: 'the plain tunnel', column: 0, mayImport: ['ip', 'linux', 'packets'] },
    {
      name: 'tunnel',
      about: "WireGuard's data plane",
      column: 1,
      mayImport: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets'],
    },
    {
      name: 'hub',
      about: 'members, relay, store',
      column: 2,
      mayImport: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets'],
      packages: ['ws', 'kysely', 'pg', 'node-sqlite3-wasm'],
    },
  ],
  [
    {
      name: 'device',
      about: 'a WireGuard interface',
      column: 1,
      mayImport: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets', 'tunnel'],
    },
  ],
  [
    {
      name: 'demo',
      about: 'the lesson',
      column: 0,
      mayImport: ['ip', 'linux', 'plain'],
      packages: ['picocolors'],
    },
    {
      name: 'node',
      about: 'a member of a network',
      column: 1,
      mayImport: ['ip', 'wireguard', 'protocol', 'linux', 'crypto', 'packets', 'tunnel', 'device'],
      packages: ['ws', 'dns-packet', 'valibot'],
    },
  ],
  [
    {
      name: 'cli',
      about: 'the commands',
      column: 1,
      mayImport: [
        'ip',
        'wireguard',
        'protocol',
        'linux',
        'crypto',
        'packets',
        'tunnel',
        'device',
        'plain',
        'demo',
        'node',
        'hub',
      ],
      packages: ['commander', 'picocolors'],
    },
  ],
];
export const ROOMS: readonly Room[] = FLOORS.flat();

/** Folders without I/O in rooms that are not pure. */
export const PURE_FOLDERS = ['hub/membership', 'hub/machine', 'node/machine'] as const;

/** Folders that may import less than their room, with the folders that they may import. */
export const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  crypto: ['crypto', 'linux/ffi', 'wireguard'],
  'linux/ffi': ['ip'],
  'linux/net': ['ip', 'linux/ffi'],
  'linux/tun': ['ip', 'linux/ffi', 'linux/net'],
  'linux/files': ['ip', 'linux/ffi'],
  'linux/process': ['ip', 'linux/ffi'],
  'linux/threads': ['ip', 'linux/ffi', 'linux/net'],
  'linux/service': ['ip', 'linux/ffi', 'linux/net', 'linux/threads'],
  'linux/host': ['ip', 'linux/ffi', 'linux/net', 'linux/files', 'linux/process'],
  'hub/membership': ['ip', 'protocol'],
  'hub/machine': ['hub/membership', 'protocol', 'ip', 'wireguard'],
  'hub/server': ['hub/machine', 'protocol', 'ip', 'linux/net'],
  'hub/store': ['hub/membership', 'linux/files'],
  'node/control': ['protocol', 'linux/ffi', 'linux/files', 'linux/net'],
  'node/machine': [
    'node/machine/hub',
    'node/machine/paths',
    'node/control',
    'ip',
    'protocol',
    'wireguard',
    'linux/net',
  ],
  'node/machine/hub': ['ip', 'protocol', 'wireguard'],
  'node/machine/paths': ['node/control', 'ip', 'protocol', 'wireguard'],
  'node/names': ['node/machine', 'ip', 'protocol', 'linux/files', 'linux/host', 'linux/process'],
  'hub/relay': [
    'crypto',
    'ip',
    'packets',
    'protocol',
    'wireguard',
    'linux/ffi',
    'linux/net',
    'linux/process',
    'linux/threads',
  ],
};
