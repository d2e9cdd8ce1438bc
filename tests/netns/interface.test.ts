import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { formatAddress, parseAddress } from '../../src/ip/address.js';
import { type Cidr, formatCidr, parseCidr } from '../../src/ip/cidr.js';
import { ERRNO, LinuxError } from '../../src/linux/ffi/errno.js';
import { addAddress, NetworkInterface, removeAddress } from '../../src/linux/net/interface.js';
import { findLink, type Link, setLinkUp } from '../../src/linux/net/link.js';
import {
  addRoute,
  listAllRoutes,
  listDeviceRoutes,
  removeRoute,
  routeTo,
} from '../../src/linux/net/route.js';
import { type Watch, watchLink, watchNetwork } from '../../src/linux/net/watch.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { Tun } from '../../src/linux/tun/tun.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

const cidr = (text: string): Cidr => parseCidr(text)!;
const address = (text: string): Uint8Array => parseAddress(text)!;
const refusedWith = (errno: number, message: RegExp) => (error: unknown) =>
  error instanceof LinuxError && error.errno === errno && message.test(error.message);

/** A TUN device in its own namespace; both are removed after the test. */
function tunDevice(t: TestContext): { namespace: Namespace; device: NetworkInterface; tun: Tun } {
  const namespace = Namespace.create(`lt-if-${process.pid}-${count++}`);
  t.after(() => namespace.remove());
  return namespace.inside(() => {
    const tun = Tun.open({ name: 'tun7', packetInformation: true });
    t.after(() => tun.close());
    return { namespace, device: NetworkInterface.open('tun7'), tun };
  });
}
let count = 0;

test('an interface is found by name and by number, with its kind', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  namespace.inside(() => {
    const link = device.link();
    assert.deepEqual([link.name, link.mtu, link.up, link.kind], ['tun7', 1500, false, 'tun']);
    assert.equal(NetworkInterface.open(link.index).name, 'tun7');
    assert.equal(findLink('tun8'), undefined);
  });
});

test('MTU and state are set', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  namespace.inside(() => {
    device.setMtu(1468);
    setLinkUp(device, true);
    assert.deepEqual([device.link().mtu, device.link().up, device.link().carrier], [1468, true, true]);
    setLinkUp(device, false);
    assert.equal(device.link().up, false);
    assert.throws(
      () => device.setMtu(1),
      refusedWith(ERRNO.EINVAL, /^set the MTU of tun7 to 1: Invalid argument: /),
    );
  });
  assert.match(namespace.run('ip', ['link', 'show', 'tun7']), /mtu 1468/);
});

test('addresses of both families are added, listed and removed, as `ip` sees them', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  namespace.inside(() => {
    setLinkUp(device, true);
    addAddress(device, cidr('10.0.0.1/24'));
    addAddress(device, cidr('fd00::1/64'));
    const own = device.addresses().map(formatCidr);
    assert.ok(own.includes('10.0.0.1/24') && own.includes('fd00::1/64'), own.join());
    assert.throws(() => addAddress(device, cidr('10.0.0.1/24')), refusedWith(ERRNO.EEXIST, /has it already/));
    assert.throws(() => addAddress(device, cidr('fd00::1/64')), refusedWith(ERRNO.EEXIST, /has it already/));
  });
  const shown = namespace.run('ip', ['addr', 'show', 'tun7']);
  assert.match(shown, /inet 10\.0\.0\.1\/24/);
  assert.match(
    shown,
    /inet6 fd00::1\/64 scope global nodad/,
    'usable at once, without duplicate address detection',
  );
  namespace.inside(() => {
    removeAddress(device, cidr('10.0.0.1/24'));
    removeAddress(device, cidr('fd00::1/64'));
    assert.deepEqual(
      device.addresses().filter(({ address }) => address.length === 4 || address[0] !== 0xfe),
      [],
    );
    const gone = refusedWith(ERRNO.EADDRNOTAVAIL, /^remove address 10\.0\.0\.1\/24 from tun7: /);
    assert.throws(() => removeAddress(device, cidr('10.0.0.1/24')), gone);
  });
});

test('routes of both families are added, listed and removed', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  namespace.inside(() => {
    assert.throws(
      () => addRoute(device, cidr('10.9.0.0/16')),
      refusedWith(ERRNO.ENETDOWN, /set the device up first/),
    );
    setLinkUp(device, true);
    addAddress(device, cidr('10.0.0.1/24'));
    addRoute(device, cidr('10.9.1.2/16')); // host bits are ignored
    addRoute(device, cidr('10.9.0.0/16'), { metric: 50 });
    addRoute(device, cidr('fd09::/48'), { metric: 7 });
    namespace.ip(['route add 192.168.7.0/24 via 10.0.0.2', 'route add 10.10.0.0/16 dev tun7 table 51820']);
    const shown = listDeviceRoutes(device.index).map(
      (route) => `${formatCidr(route.destination)} ${route.metric}`,
    );
    for (const route of [
      '10.0.0.0/24 0',
      '10.9.0.0/16 0',
      '10.9.0.0/16 50',
      '192.168.7.0/24 0',
      'fd09::/48 7',
    ]) {
      assert.ok(shown.includes(route), `${route} in ${shown}`);
    }
    assert.ok(!shown.some((route) => route.startsWith('10.10.')), 'that route is in another table');
    assert.equal(
      formatCidr(listAllRoutes().find(({ table }) => table === 51_820)!.destination),
      '10.10.0.0/16',
    );
    assert.throws(() => addRoute(device, cidr('10.9.0.0/16')), refusedWith(ERRNO.EEXIST, /already/));
    assert.throws(
      () => addRoute(device, cidr('fd09::/48'), { metric: 7 }),
      refusedWith(ERRNO.EEXIST, /already/),
    );
  });
  assert.match(namespace.run('ip', ['route']), /^10\.9\.0\.0\/16 dev tun7 scope link/m);
  assert.match(namespace.run('ip', ['-6', 'route']), /^fd09::\/48 dev tun7 metric 7/m);
  namespace.inside(() => {
    removeRoute(device, cidr('10.9.0.0/16'), 50);
    removeRoute(device, cidr('10.9.0.0/16'));
    removeRoute(device, cidr('192.168.7.0/24'));
    removeRoute(device, cidr('fd09::/48'));
    namespace.ip(['route del 10.10.0.0/16 table 51820']);
    const gone = refusedWith(
      ERRNO.ESRCH,
      /^remove route 10\.9\.0\.0\/16 through tun7: .*there is no such route/,
    );
    assert.throws(() => removeRoute(device, cidr('10.9.0.0/16')), gone);
    const left = listAllRoutes().filter(({ protocol }) => protocol === 3);
    assert.deepEqual(left, []);
  });
});

test('a default route is listed with prefix 0', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  namespace.inside(() => {
    setLinkUp(device, true);
    addRoute(device, cidr('0.0.0.0/0'));
    addRoute(device, cidr('::/0'));
    const shown = listAllRoutes().map(({ destination }) => formatCidr(destination));
    assert.ok(shown.includes('0.0.0.0/0') && shown.includes('::/0'), shown.join());
  });
});

test('the route to an address names device, gateway, source and MTU', (t) => {
  if (!needs(t, 'netns')) return;
  const [a, b] = Namespace.createAll([`lt-a-${process.pid}`, `lt-b-${process.pid}`]) as [
    Namespace,
    Namespace,
  ];
  t.after(() => [a, b].map((namespace) => namespace.remove()));
  connect(
    {
      namespace: a,
      device: 'left',
      addresses: ['10.1.0.1/24', 'fd01::1/64'],
      routes: [
        { to: '0.0.0.0/0', via: '10.1.0.2' },
        { to: '::/0', via: 'fd01::2' },
      ],
    },
    { namespace: b, device: 'right', addresses: ['10.1.0.2/24', 'fd01::2/64'] },
    1400,
  );
  a.ip(['route add 10.3.0.0/16 via 10.1.0.2 mtu 1300', 'route add unreachable 10.4.0.0/16']);
  a.inside(() => {
    const far = routeTo(address('203.0.113.9'));
    assert.equal(far?.deviceName, 'left');
    assert.deepEqual(
      [far?.gateway, far?.preferredSource].map((a) => a && formatAddress(a)),
      ['10.1.0.2', '10.1.0.1'],
    );
    assert.deepEqual([far?.pathMtu, far?.local], [1400, false]);
    const far6 = routeTo(address('2001:db8::9'));
    assert.deepEqual(
      [far6?.gateway, far6?.preferredSource].map((a) => a && formatAddress(a)),
      ['fd01::2', 'fd01::1'],
    );
    assert.equal(far6?.pathMtu, 1400);
    assert.equal(routeTo(address('10.1.0.2'))?.gateway, undefined, 'a neighbor');
    assert.equal(routeTo(address('10.3.0.1'))?.pathMtu, 1300, 'the MTU of the route');
    assert.equal(routeTo(address('10.4.0.1')), undefined, 'unreachable');
    assert.equal(routeTo(address('10.1.0.1'))?.local, true);
  });
  b.inside(() => {
    assert.equal(routeTo(address('203.0.113.9')), undefined, 'no route');
    assert.equal(routeTo(address('2001:db8::9')), undefined, 'no route');
  });
});

test('a path MTU learned from ICMP takes precedence', (t) => {
  if (!needs(t, 'netns', 'ping')) return;
  const names = ['near', 'middle', 'far'].map((name) => `lt-${name}-${process.pid}`);
  const [near, middle, far] = Namespace.createAll(names) as [Namespace, Namespace, Namespace];
  t.after(() => [near, middle, far].map((namespace) => namespace.remove()));
  connect(
    {
      namespace: near,
      device: 'n',
      addresses: ['10.1.0.1/24'],
      routes: [{ to: '0.0.0.0/0', via: '10.1.0.2' }],
    },
    { namespace: middle, device: 'm1', addresses: ['10.1.0.2/24'] },
  );
  connect(
    { namespace: middle, device: 'm2', addresses: ['10.2.0.2/24'] },
    {
      namespace: far,
      device: 'f',
      addresses: ['10.2.0.1/24'],
      routes: [{ to: '0.0.0.0/0', via: '10.2.0.2' }],
    },
    1300,
  );
  middle.sysctl({ 'net.ipv4.ip_forward': 1 });
  assert.throws(() => near.run('ping', ['-c1', '-W1', '-Mdo', '-s1400', '10.2.0.1']));
  near.inside(() => {
    assert.equal(routeTo(address('10.2.0.1'))?.pathMtu, 1300);
    assert.equal(routeTo(address('10.2.0.77'))?.pathMtu, 1500);
  });
});

test('the error about a missing device names it and says what to do', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device, tun } = tunDevice(t);
  namespace.inside(() => {
    const missing = /^look for tun9: No such device: there is no device tun9: `ip link` lists all devices$/;
    assert.throws(() => NetworkInterface.open('tun9'), refusedWith(ERRNO.ENODEV, missing));
    tun.close(); // also removes the device
    assert.throws(() => device.link(), refusedWith(ERRNO.ENODEV, /tun7/));
    assert.throws(() => setLinkUp(device, true), refusedWith(ERRNO.ENODEV, /^set tun7 up: /));
    assert.throws(
      () => addAddress(device, cidr('10.0.0.1/24')),
      refusedWith(ERRNO.ENODEV, /^add address 10/),
    );
    assert.throws(() => addRoute(device, cidr('10.0.0.0/24')), refusedWith(ERRNO.ENODEV, /^add route 10/));
    assert.deepEqual(device.addresses(), []);
  });
});

test('changes of a device are reported until it is removed', { timeout: 60_000 }, async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  const seen: (Link | undefined)[] = [];
  const events = new EventTarget();
  let watch: Watch | undefined;
  namespace.inside(() => {
    watch = watchLink(device.index, (link) => {
      seen.push(link);
      events.dispatchEvent(new Event('change'));
    });
  });
  t.after(() => watch?.close());
  const becomes = async (holds: (link: Link | undefined) => boolean): Promise<void> => {
    while (seen.length === 0 || !holds(seen.at(-1))) await once(events, 'change');
  };
  namespace.ip(['link set tun7 up']);
  await becomes((link) => link?.up === true);
  namespace.ip(['link set tun7 mtu 1400', 'link add other type veth peer name other2']);
  await becomes((link) => link?.mtu === 1400);
  namespace.ip(['link set tun7 down']);
  await becomes((link) => link?.up === false);
  namespace.ip(['link del tun7']);
  await becomes((link) => link === undefined);
  assert.ok(
    seen.every((link) => link === undefined || link.name === 'tun7'),
    'only that device',
  );
});

test('the last change is not missed when changes come faster than they are read', {
  timeout: 90_000,
}, async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace, device } = tunDevice(t);
  let last: Link | undefined;
  const watch = namespace.inside(() => watchLink(device.index, (link) => (last = link)));
  t.after(() => watch.close());
  namespace.inside(() => {
    for (let mtu = 1400; mtu >= 900; mtu--) device.setMtu(mtu); // more than the socket's buffer holds
  });
  await until('the last change', () => last?.mtu === 900);
});

test('simultaneous changes of addresses and routes are reported once', { timeout: 90_000 }, async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { namespace } = tunDevice(t);
  let reports = 0;
  const watch = namespace.inside(() => watchNetwork(() => reports++));
  t.after(() => watch.close());
  const changes = async (...commands: readonly string[]): Promise<number> => {
    reports = 0;
    namespace.ip(commands);
    await until('the report', () => reports > 0);
    return reports;
  };
  /** The kernel takes up to a second to notice that a device has a carrier, and to act on it. */
  const settled = async (): Promise<void> => {
    for (reports = 1; reports > 0; ) {
      reports = 0;
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  };
  assert.ok((await changes('link set tun7 up')) > 0);
  await settled();
  assert.equal(await changes('addr add 192.0.2.9/24 dev tun7', 'addr add 192.0.2.10/24 dev tun7'), 1);
  assert.equal(await changes('route add 198.51.100.0/24 dev tun7'), 1);
  assert.equal(await changes('route del 198.51.100.0/24'), 1);
  assert.ok((await changes('addr add 2001:db8::9/64 dev tun7 nodad')) > 0); // the kernel reports its own changes afterwards
});
