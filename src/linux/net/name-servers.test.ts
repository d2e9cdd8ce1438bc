import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAddress } from '../../ip/address.js';
import { nameServers } from './name-servers.js';

test('name servers are read from every file that may contain them', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'resolv.conf');
  writeFileSync(
    file,
    '# mine\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 # here\nnameserver nonsense\n#nameserver 192.0.2.1\nsearch a\n',
  );
  const found = nameServers([join(folder, 'none'), file]).map(formatAddress);
  assert.deepEqual(found, ['192.0.2.53', '2001:db8::53']);
});
