import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MAIN } from '../kit/lametun.js';
import { type Machine, NetworkLab, RESOLV_CONF } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import type { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite } from './join.js';

/** An uncaught error in a running node ends it, and leaves the machine as it was. */

const DEFECTS = {
  error: "throw new TypeError('a defect of the test')",
  promise: "void Promise.reject(new TypeError('a defect of the test'))",
} as const;

/** Starts lametun with a bug that SIGUSR2 triggers. */
function startWithDefect(
  t: TestContext,
  machine: Machine,
  defect: string,
  ...args: readonly string[]
): Running {
  const folder = mkdtempSync(path(tmpdir(), 'lametun-defect-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = path(folder, 'defect.mjs');
  writeFileSync(file, `process.on('SIGUSR2', () => { ${defect}; });\n`);
  return machine.spawn(
    ...(['env', `NODE_OPTIONS=--import=file://${file}`, process.execPath, MAIN] as const),
    ...[...args, '--name', machine.name, '--state', machine.state],
  );
}

/** Everything on a machine that a node changes. */
const traces = (machine: Machine): Readonly<Record<string, string>> => ({
  links: machine.run('ip', '-o', 'link').stdout.replaceAll(/ state \w+/g, ''),
  addresses: machine.run('ip', '-o', 'address').stdout,
  routes: machine.run('ip', 'route', 'show', 'table', 'all').stdout,
  rules: machine.run('nft', 'list', 'ruleset').stdout,
  forwarding: machine.run('sysctl', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding').stdout,
  names: readFileSync(machine.resolvConf, 'utf8'),
});

test('an uncaught error in a node ends it with status 1, and undoes its changes', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const gateway = lab.site('gateway', { access: 'easy', gateway: true, lan: 9 }).machine;
  await hubAlone(hub);
  const before = traces(gateway);
  const token = invite(hub, '--share', '192.168.9.0/24');
  const node = startWithDefect(t, gateway, DEFECTS.error, 'join', token, '--share', '192.168.9.0/24');
  await node.says(/is up/);
  await until('names', () => readFileSync(gateway.resolvConf, 'utf8') !== RESOLV_CONF);
  const meanwhile = traces(gateway);
  for (const part of ['links', 'addresses', 'routes', 'rules', 'names'])
    assert.notEqual(meanwhile[part], before[part], `control: ${part}`);

  const began = performance.now();
  process.kill(node.pid, 'SIGUSR2');
  assert.equal(await node.ended, 1);
  t.diagnostic(`ended after ${Math.round(performance.now() - began)} ms`);
  assert.match(
    node.stderr,
    /^lametun: this is a bug in lametun, please report it: TypeError: a defect of the test$/m,
  );
  assert.deepEqual(traces(gateway), before);
  assert.ok(!existsSync(path(gateway.state, 'control.sock')), 'the control socket is gone');

  await gateway.start('up').says(/is up/); // the state is intact
});

test('an unhandled rejection in a hub ends it, and the hub can start again', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft')) return;
  const hub = new NetworkLab(t).site('hub').machine;
  const before = traces(hub);
  const running = startWithDefect(t, hub, DEFECTS.promise, 'serve', '--network', 'home');
  await running.says(/is up/);
  process.kill(running.pid, 'SIGUSR2');
  assert.equal(await running.ended, 1);
  assert.match(running.stderr, /this is a bug in lametun/);
  assert.deepEqual(traces(hub), before);
  await hub.start('up').says(/is up/);
});
