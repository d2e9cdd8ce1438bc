import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCidr, parseCidr } from '../../src/ip/cidr.js';
import { Namespace } from '../../src/linux/namespace.js';
import { localRoutes, parseShare, rangeCollision } from '../../src/network/ranges.js';
import { needs } from '../../src/testkit/requirements.js';

test('routes of every table and addresses count; default routes, dead ends and the own device do not', (t) => {
  if (!needs(t, 'netns')) return;
  const namespace = Namespace.create(`lt-ranges-${process.pid}`);
  t.after(() => namespace.remove());
  namespace.ip([
    'link add eth0 type veth peer name peer0',
    'link set peer0 up',
    'link add lametun0 type veth peer name peer1',
    'link set peer1 up',
    'link set eth0 up',
    'link set lametun0 up',
    'address add 192.168.1.5/24 dev eth0',
    'address add fd07::5/64 dev eth0 nodad',
    'address add 10.9.9.9/32 dev lo',
    'address add 10.7.0.2/16 dev lametun0',
    'route add default via 192.168.1.1 dev eth0',
    'route add 0.0.0.0/1 via 192.168.1.1 dev eth0',
    'route add unreachable 10.50.0.0/16',
    'route add 100.64.0.0/10 dev eth0 table 52',
    'route add 172.20.0.0/16 via 192.168.1.1 dev eth0',
  ]);
  namespace.inside(() => {
    const routes = localRoutes('lametun0');
    const collision = (range: string): string | undefined => rangeCollision([parseCidr(range)!], routes);
    const networks = routes.filter(({ local }) => !local).map(({ destination }) => formatCidr(destination));
    assert.deepEqual(networks.sort(), ['100.64.0.0/10', '172.20.0.0/16', '192.168.1.0/24', 'fd07::/64']);
    assert.equal(collision('10.7.0.0/16'), undefined, 'our own');
    assert.equal(collision('10.50.0.0/16'), undefined);
    assert.equal(
      collision('100.100.0.0/16'),
      '100.100.0.0/16 collides with the route 100.64.0.0/10 dev eth0',
    );
    assert.match(collision('172.20.5.0/24')!, /the route 172\.20\.0\.0\/16 via 192\.168\.1\.1 dev eth0$/);
    assert.match(collision('10.9.0.0/16')!, /this machine's address 10\.9\.9\.9 dev lo$/);
    assert.match(rangeCollision([parseCidr('10.7.0.0/16')!], localRoutes())!, /dev lametun0$/);
    assert.equal(formatCidr(parseShare('192.168.1.0/24', routes)), '192.168.1.0/24');
    assert.throws(() => parseShare('10.7.0.0/24', routes), /no route/, 'reached only through the tunnel');
  });
});
