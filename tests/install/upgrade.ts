import assert from 'node:assert/strict';
import { until } from '../kit/wait.js';
import { type Debian, debOf } from './debian.js';
import { NEWER, OLDER } from './versions.js';

/** How long an upgrade may silence a network, seconds. */
export const SILENCE = 2;

export function install(machine: Debian, version: string): void {
  machine.copy(debOf(version));
  machine.run('apt-get', 'install', '-y', '--allow-downgrades', `/root/lametun_${version}_amd64.deb`);
}

/**
 * Upgrades a machine while another one pings through the tunnel. It repeats an upgrade that other work on this processor
 * has slowed down.
 *
 * @param unit what the upgrade restarts
 * @param target a name or an address
 * @returns how long the network was silent each time, seconds
 */
export async function upgrade(
  machine: Debian,
  unit: string,
  pinging: Debian,
  target: string,
): Promise<readonly number[]> {
  const started = (): string =>
    machine.run('systemctl', 'show', '-P', 'ExecMainStartTimestampMonotonic', unit);
  const gaps: number[] = [];
  while (gaps.length < 3 && !gaps.some((gap) => gap <= SILENCE)) {
    install(machine, OLDER);
    await reach(pinging, target);
    const before = started();
    gaps.push(await silence(pinging, target, () => install(machine, NEWER)));
    assert.notEqual(started(), before, 'the new version runs');
  }
  return gaps;
}

/** Until a machine answers. */
export async function reach(pinging: Debian, target: string): Promise<void> {
  const ping = () => pinging.try('ping', '-c', '1', '-W', '1', target);
  await until(`${target} to answer`, () => ping().status === 0).catch((error: Error) => {
    const journal = pinging.run('journalctl', '-n', '20', '-u', 'lametun*');
    throw new Error(`${error.message}: ${ping().stderr}\n${journal}`);
  });
}

/** @returns the longest time without an answer while something happens, seconds */
export async function silence(pinging: Debian, target: string, happens: () => void): Promise<number> {
  const output = await pinging.during(['ping', '-D', '-n', '-i', '0.05', target], async () => {
    happens();
    await reach(pinging, target);
  });
  const times = [...output.matchAll(/^\[([\d.]+)\] \d+ bytes/gm)].map((match) => Number(match[1]));
  assert.ok(times.length > 10, `${target} answered`);
  return Number(Math.max(...times.slice(1).map((time, i) => time - times[i]!)).toFixed(2));
}
