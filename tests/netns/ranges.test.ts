import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCidr, parseCidr } from '../../src/ip/cidr.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { rangeObstacles } from '../../src/node/machine/range-obstacles.js';
import { checkOwnShare, localRoutes } from '../../src/node/machine/ranges.js';
import { localRouting } from '../../src/node/shell/local-routing.js';
import { needs } from '../kit/requirements.js';

test('a range may collide with addresses, and routes and rules of every table, except those of its own device', (t) => {
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
    'route add 10.41.0.0/16 dev eth0 table 52',
    'route add 172.20.0.0/16 via 192.168.1.1 dev eth0',
  ]);
  namespace.run('ip', ['rule', 'add', 'pref', '5270', 'lookup', '52']);
  namespace.run('ip', ['rule', 'add', 'pref', '90', 'to', '10.40.0.0/16', 'prohibit']);
  namespace.run('ip', ['rule', 'add', 'pref', '91', 'not', 'fwmark', '0x10/0xff', 'lookup', '301']);
  namespace.run('ip', [
    '-6',
    'rule',
    'add',
    'pref',
    '80',
    'from',
    'fd99::/64',
    'iif',
    'eth0',
    'lookup',
    '300',
  ]);
  namespace.run('ip', ['rule', 'add', 'pref', '6000', 'lookup', 'main', 'suppress_prefixlength', '0']);
  namespace.run('ip', ['rule', 'add', 'pref', '75', 'ipproto', 'tcp', 'goto', '90']);
  namespace.inside(() => {
    const routing = localRouting('lametun0');
    const routes = localRoutes(routing);
    const refusal = (range: string, from = routing): string | undefined =>
      rangeObstacles([parseCidr(range)!], from).refusals[0];
    const networks = routes.filter(({ local }) => !local).map(({ destination }) => formatCidr(destination));
    assert.deepEqual(networks.sort(), ['10.41.0.0/16', '172.20.0.0/16', '192.168.1.0/24', 'fd07::/64']);
    assert.equal(refusal('10.6.0.0/15'), undefined, 'routes of its own device');
    assert.match(refusal('10.50.0.0/15')!, /collides with the unreachable route 10\.50\.0\.0\/16$/);
    assert.match(refusal('172.20.0.0/15')!, /the route 172\.20\.0\.0\/16 via 192\.168\.1\.1 dev eth0$/);
    assert.match(refusal('10.8.0.0/15')!, /this machine's address 10\.9\.9\.9 dev lo$/);
    assert.match(
      refusal('10.40.0.0/16')!,
      /^the routing rule 90 rejects packets to 10\.40\.0\.0\/16 \(prohibit\)$/,
    );
    assert.match(
      refusal('10.41.0.0/16')!,
      /^the routing rule 5270 .* table 52, which has the route 10\.41\.0\.0\/16 dev eth0$/,
    );
    assert.match(refusal('10.6.0.0/15', localRouting())!, /dev lametun0$/);
    checkOwnShare('192.168.1.0/24', routes, []);
    assert.throws(
      () => checkOwnShare('10.7.0.0/24', routes, []),
      /no route/,
      'reachable only through the tunnel',
    );

    const [suppressing, jumping, rejecting, marking] = [6000, 75, 90, 91].map(
      (each) => routing.rules.find(({ family, priority }) => family === 4 && priority === each)!,
    );
    assert.deepEqual([suppressing!.table, suppressing!.suppressPrefix], [254, 0]);
    assert.deepEqual([jumping!.action, jumping!.target, jumping!.isPartial], ['goto', 90, true]);
    assert.deepEqual([rejecting!.action, formatCidr(rejecting!.to!)], ['prohibit', '10.40.0.0/16']);
    assert.deepEqual([marking!.isInverted, marking!.mark, marking!.mask], [true, 0x10, 0xff]);
    const six = routing.rules.find(({ family, priority }) => family === 6 && priority === 80)!;
    assert.deepEqual([six.table, six.inputDevice, formatCidr(six.from!)], [300, 'eth0', 'fd99::/64']);
    const plain = routing.rules.find(({ family, priority }) => family === 4 && priority === 32_766)!;
    assert.deepEqual(
      [plain.table, plain.suppressPrefix, plain.isPartial, plain.to],
      [254, -1, false, undefined],
    );
  });
});
