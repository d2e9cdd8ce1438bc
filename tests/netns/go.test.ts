import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { INNER, Lab, OFFICE_ADDRESSES } from '../kit/lab.js';
import { needs } from '../kit/requirements.js';
import { assertPing, transfer } from '../kit/traffic.js';

/**
 * lametun against the original Go program, in both roles. The test runner includes this file only if LAMETUN_GO names the
 * program's binary.
 */

const GO = process.env['LAMETUN_GO'] ?? '';
const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'nft', 'ping');
const MB = 1_000_000;

/** Prepares a device as in the post, but with the correct MTU, and starts the original program. */
function startOriginal(
  t: TestContext,
  host: Namespace,
  inner: { v4: string; v6: string },
  args: readonly string[],
) {
  assert.ok(existsSync(GO), `LAMETUN_GO: no such program: ${GO}`);
  host.ip([
    'tuntap add dev tun0 mode tun',
    `address add ${inner.v4}/24 dev tun0`,
    `address add ${inner.v6}/64 dev tun0 nodad`,
    'link set tun0 mtu 1468 up',
  ]);
  const child = host.spawn(GO, args, { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
}

async function exchange(lab: Lab): Promise<void> {
  const { laptop } = lab.net;
  await lab.serve(lab.net.gateway);
  await assertPing(laptop, INNER.office.v4, { count: 5 });
  await assertPing(laptop, INNER.office.v6);
  for (const to of [INNER.office.v4, INNER.office.v6]) {
    await transfer('put', laptop, to, 10 * MB);
    await transfer('get', laptop, to, 10 * MB);
  }
}

test('a lametun client talks to an original listener', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  startOriginal(t, lab.net.gateway, INNER.office, ['-listen']);
  await lab.home();
  await exchange(lab);
});

test('an original client talks to a lametun listener', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  await lab.lametun(lab.net.gateway, ['-listen', ...OFFICE_ADDRESSES]).ready();
  startOriginal(t, lab.net.laptop, INNER.home(0), ['-server', '203.0.113.5']);
  await exchange(lab);
});

test('an original client and a lametun client share a lametun listener', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t, { homes: 2 });
  await lab.lametun(lab.net.gateway, ['-listen', ...OFFICE_ADDRESSES]).ready();
  startOriginal(t, lab.net.laptop, INNER.home(0), ['-server', '203.0.113.5']);
  await lab.home(1);
  await exchange(lab);
  await assertPing(lab.net.homes[1]!.laptop, INNER.office.v4);
});
