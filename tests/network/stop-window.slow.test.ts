import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Lab } from '../kit/lab.js';
import { MAIN } from '../kit/lametun.js';
import { NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';

/*
 * A tunnel that stops must close its device before it removes its firewall rules. Otherwise, on a machine that forwards
 * packets, members could for a moment reach the networks behind it.
 */

/** A folder with an `nft` that logs whether the device exists when its table is removed, then calls the real `nft`. */
function watchedNft(t: TestContext, device: string) {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-nft-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const log = join(folder, 'log');
  const script = `#!/bin/sh
PATH=/usr/sbin:/sbin:/usr/bin:/bin
input=$(cat)
case $input in
  *"table inet lametun_${device} {"*) ;;
  *"delete table inet lametun_${device}"*) if ip link show ${device}; then echo open; else echo closed; fi >>${log} 2>/dev/null ;;
esac
printf '%s\\n' "$input" | nft "$@"
`;
  writeFileSync(join(folder, 'nft'), script, { mode: 0o755 });
  return {
    env: ['env', `PATH=${folder}:${process.env['PATH'] ?? ''}`],
    states: (): string[] =>
      existsSync(log)
        ? readFileSync(log, 'utf8')
            .split('\n')
            .filter((line) => /^(open|closed)$/.test(line))
        : [],
  };
}

test('a plain tunnel closes its device before it removes its rules', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'nft')) return;
  const { env, states } = watchedNft(t, 'tun0');
  const lab = new Lab(t);
  const args = ['-listen', '--address', '10.0.0.1/24', '--forward'];
  const tunnel = await lab.lametun(lab.net.gateway, args, { wrapper: env }).ready();
  await tunnel.stop('SIGTERM');
  assert.deepEqual(states(), ['closed']);
});

test('a node closes its device before it removes its rules', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'nft')) return;
  const { env, states } = watchedNft(t, 'lametun0');
  const { machine } = new NetworkLab(t).site('gateway');
  const [program, ...rest] = [
    ...env,
    process.execPath,
    MAIN,
    'serve',
    '--name',
    'gateway',
    '--state',
    machine.state,
  ];
  const node = machine.spawn(program!, ...rest);
  await node.says(/is up/);
  await node.stop('SIGTERM');
  assert.deepEqual(states(), ['closed']);
});
