import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../../ip/cidr.js';
import { DNS_TYPE, Names, RCODE, reverseZones } from './names.js';

const RANGES = ['10.7.0.0/16', 'fd12:3456:789a::/64'].map((text) => parseCidr(text)!);
const REVERSE6 = '0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa';

function names(): Names {
  const made = new Names('Home', RANGES);
  made.set([
    { name: 'office', ipv4: '10.7.0.2', ipv6: 'fd12:3456:789a::2' },
    { name: 'bad.name', ipv4: '10.7.0.66', ipv6: 'fd12:3456:789a::66' },
  ]);
  return made;
}

test('a node has both addresses under its name, in upper or lower case', () => {
  const { records, rcode } = names().lookup('office.home.lametun', DNS_TYPE.a)!;
  assert.deepEqual([rcode, records], [RCODE.noError, [{ type: 'A', data: '10.7.0.2' }]]);
  assert.deepEqual(names().lookup('OFFICE.Home.LAMETUN', DNS_TYPE.aaaa)!.records, [
    { type: 'AAAA', data: 'fd12:3456:789a::2' },
  ]);
  assert.equal(names().lookup('office.home.lametun', DNS_TYPE.any)!.records.length, 2);
});

test('a node without IPv6 has no IPv6 address, and on a machine without IPv6 no node has one', () => {
  const made = new Names('home', RANGES);
  const both = { ipv4: '10.7.0.2', ipv6: 'fd12:3456:789a::2' };
  made.set([
    { name: 'old', ...both, ipv4Only: true },
    { name: 'office', ipv4: '10.7.0.3', ipv6: 'fd12:3456:789a::3' },
  ]);
  const types = (name: string): string[] =>
    made.lookup(`${name}.home.lametun`, DNS_TYPE.any)!.records.map(({ type }) => type);
  assert.deepEqual([types('old'), types('office')], [['A'], ['A', 'AAAA']]);
  assert.equal(made.lookup('old.home.lametun', DNS_TYPE.aaaa)!.rcode, RCODE.noError);
  made.hasIpv6 = false;
  assert.deepEqual([types('old'), types('office')], [['A'], ['A']]);
});

test('a missing type is NODATA, and a missing name is NXDOMAIN', () => {
  assert.deepEqual(names().lookup('office.home.lametun', 15), {
    rcode: 0,
    records: [],
    zone: 'home.lametun',
  });
  assert.deepEqual(names().lookup('home.lametun', DNS_TYPE.a), {
    rcode: 0,
    records: [],
    zone: 'home.lametun',
  });
  for (const name of ['nobody.home.lametun', 'www.office.home.lametun', 'bad.name.home.lametun']) {
    assert.deepEqual(names().lookup(name, DNS_TYPE.a), { rcode: 3, records: [], zone: 'home.lametun' });
  }
});

test('addresses have reverse names', () => {
  const four = names().lookup('2.0.7.10.in-addr.arpa', DNS_TYPE.ptr)!;
  assert.deepEqual(four.records, [{ type: 'PTR', data: 'office.home.lametun' }]);
  assert.equal(four.zone, '7.10.in-addr.arpa');
  const six = names().lookup(`2.${'0.'.repeat(15)}${REVERSE6}`.toUpperCase(), DNS_TYPE.ptr)!;
  assert.deepEqual(six.records, [{ type: 'PTR', data: 'office.home.lametun' }]);
  assert.equal(six.zone, REVERSE6);
  assert.equal(names().lookup('3.0.7.10.in-addr.arpa', DNS_TYPE.ptr)!.rcode, RCODE.nameError);
  assert.equal(names().lookup('66.0.7.10.in-addr.arpa', DNS_TYPE.ptr)!.rcode, RCODE.nameError);
  assert.deepEqual(names().lookup('0.7.10.in-addr.arpa', DNS_TYPE.ptr), {
    rcode: RCODE.noError,
    records: [],
    zone: '7.10.in-addr.arpa',
  });
});

test('names outside the network are left to others', () => {
  const others = ['example.com', 'xhome.lametun', 'office.lametun', '', 'lametun', '2.0.8.10.in-addr.arpa'];
  for (const name of [
    ...others,
    '10.in-addr.arpa',
    'in-addr.arpa',
    'ip6.arpa',
    '2.0.7.10.arpa',
    '2.0.7.010.in-addr.arpa',
  ]) {
    assert.equal(names().lookup(name, DNS_TYPE.a), undefined, name);
  }
});

test('setting nodes replaces the earlier ones', () => {
  const made = names();
  made.set([{ name: 'home', ipv4: '10.7.0.2', ipv6: 'fd12:3456:789a::2' }]);
  assert.equal(made.lookup('office.home.lametun', DNS_TYPE.a)!.rcode, RCODE.nameError);
  assert.equal(made.lookup('2.0.7.10.in-addr.arpa', DNS_TYPE.ptr)!.records[0]!.data, 'home.home.lametun');
});

test('ranges have reverse zones', () => {
  assert.deepEqual(reverseZones(RANGES), ['7.10.in-addr.arpa', REVERSE6]);
  const zones = (text: string) => reverseZones([parseCidr(text)!]);
  assert.deepEqual(zones('10.6.0.0/15'), ['6.10.in-addr.arpa', '7.10.in-addr.arpa']);
  assert.deepEqual(zones('10.1.252.0/22').length, 4);
  assert.deepEqual(zones('10.1.252.0/22').at(-1), '255.1.10.in-addr.arpa');
  assert.deepEqual(zones('fd00::/7'), ['c.f.ip6.arpa', 'd.f.ip6.arpa']);
  assert.deepEqual(zones('fd10::/11'), ['1.d.f.ip6.arpa', '0.d.f.ip6.arpa'].reverse());
});
