import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { LametunError } from '../../src/errors.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { needs } from '../kit/requirements.js';

const here = (): string => readlinkSync('/proc/thread-self/ns/net');
const names = (...parts: string[]): string[] => parts.map((part) => `lt-${part}-${process.pid}`);

test('a function runs in a namespace, and the thread returns afterwards, even if it throws', (t) => {
  if (!needs(t, 'netns')) return;
  const namespace = Namespace.create(names('in')[0]!);
  t.after(() => namespace.remove());
  const home = here();
  assert.notEqual(namespace.inside(here), home);
  assert.equal(here(), home);
  assert.throws(() =>
    namespace.inside(() => {
      throw new Error('oops');
    }),
  );
  assert.equal(here(), home);
  assert.throws(() => namespace.inside(async () => {}), TypeError);
});

test('nested calls return to the right namespace', (t) => {
  if (!needs(t, 'netns')) return;
  const [a, b] = Namespace.createAll(names('a', 'b')) as [Namespace, Namespace];
  t.after(() => [a, b].map((namespace) => namespace.remove()));
  const inA = a.inside(here);
  a.inside(() => {
    assert.notEqual(b.inside(here), inA);
    assert.equal(here(), inA);
  });
});

test('a veth pair carries IPv4 and IPv6 at once, through its routes', (t) => {
  if (!needs(t, 'netns', 'ping')) return;
  const [a, b] = Namespace.createAll(names('a', 'b')) as [Namespace, Namespace];
  t.after(() => [a, b].map((namespace) => namespace.remove()));
  connect(
    {
      namespace: a,
      device: 'left',
      addresses: ['10.0.0.1/24', 'fd00::1/64'],
      routes: [{ to: 'fd77::/16', via: 'fd00::2' }],
    },
    { namespace: b, device: 'right', addresses: ['10.0.0.2/24', 'fd00::2/64', 'fd77::1/128'] },
    1400,
  );
  a.run('ping', ['-c1', '-w20', '10.0.0.2']);
  a.run('ping', ['-c1', '-w20', 'fd77::1']);
  assert.match(b.run('ip', ['link', 'show', 'right']), /mtu 1400/);
});

test('sysctls are set only inside the namespace', (t) => {
  if (!needs(t, 'netns')) return;
  const namespace = Namespace.create(names('sysctl')[0]!);
  t.after(() => namespace.remove());
  const read = (): string => readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim();
  const before = read();
  namespace.sysctl({ 'net.ipv4.ip_forward': 1 });
  assert.equal(namespace.inside(read), '1');
  assert.equal(read(), before);
});

test('the error of a failed program contains its output', (t) => {
  if (!needs(t, 'netns')) return;
  const namespace = Namespace.create(names('run')[0]!);
  t.after(() => namespace.remove());
  assert.equal(namespace.run('cat', [], { input: 'hello' }), 'hello');
  assert.throws(
    () => namespace.run('sh', ['-c', 'echo broken >&2; exit 3']),
    (error) => error instanceof LametunError && /broken/.test(error.message),
  );
});

test('if one of several namespaces cannot be created, none remains, and existing ones are untouched', (t) => {
  if (!needs(t, 'netns')) return;
  const [fresh, taken] = names('fresh', 'taken') as [string, string];
  const there = Namespace.create(taken);
  t.after(() => there.remove());
  assert.throws(() => Namespace.createAll([fresh, taken]), LametunError);
  assert.ok(!existsSync(`/run/netns/${fresh}`));
  assert.equal(Namespace.open(taken).name, taken);
  assert.throws(() => Namespace.open(fresh), /there is no network namespace/);
});
