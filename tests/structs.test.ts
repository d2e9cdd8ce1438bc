import assert from 'node:assert/strict';
import { test } from 'node:test';
import koffi from 'koffi';
import { SOCKADDR_IN, SOCKADDR_IN6 } from '../src/linux/net/socket-address.js';
import { POLLFD } from '../src/linux/threads/poll.js';
import { IFREQ, PACKET_INFORMATION } from '../src/linux/tun/tun.js';
import { CMSGHDR, ENDPOINT, IN_PKTINFO, IN6_PKTINFO, IOVEC, MMSGHDR } from '../src/packets/udp-batch.js';

/*
 * Each struct is declared again as in the C headers, and koffi computes its layout for this machine's ABI. The
 * handwritten offsets must agree.
 */

/** The type of a member, for koffi. */
type Member = Parameters<typeof koffi.sizeof>[0];

function offsets(members: Readonly<Record<string, Member>>): Record<string, number> {
  const type = koffi.struct({ ...members });
  const found: Record<string, number> = { size: koffi.sizeof(type) };
  for (const name of Object.keys(members)) found[name] = koffi.offsetof(type, name);
  return found;
}

const bytes = (count: number) => koffi.array('uint8_t', count);

test('struct pollfd', () => {
  const c = offsets({ fd: 'int', events: 'short', revents: 'short' });
  assert.deepEqual({ ...POLLFD }, c);
});

test('struct ifreq: the union after the name has 24 bytes', () => {
  const c = offsets({ name: bytes(16), flags: 'uint16_t', rest: bytes(22) });
  assert.deepEqual(IFREQ, { name: c['name'], flags: c['flags'], size: c['size'], nameLength: 16 });
});

test('struct tun_pi', () => {
  assert.deepEqual({ ...PACKET_INFORMATION }, offsets({ flags: 'uint16_t', protocol: 'uint16_t' }));
});

test('struct sockaddr_in', () => {
  const c = offsets({ family: 'uint16_t', port: 'uint16_t', address: bytes(4), padding: bytes(8) });
  assert.deepEqual(SOCKADDR_IN, {
    family: c['family'],
    port: c['port'],
    address: c['address'],
    size: c['size'],
  });
});

test('struct sockaddr_in6', () => {
  const c = offsets({
    family: 'uint16_t',
    port: 'uint16_t',
    flow: 'uint32_t',
    address: bytes(16),
    scope: 'uint32_t',
  });
  assert.deepEqual({ ...SOCKADDR_IN6 }, c);
});

test('struct iovec', () => {
  assert.deepEqual({ ...IOVEC }, offsets({ base: 'void *', length: 'size_t' }));
});

test('struct mmsghdr', () => {
  const header = koffi.struct({
    name: 'void *',
    nameLength: 'unsigned int',
    vectors: 'void *',
    vectorCount: 'size_t',
    control: 'void *',
    controlLength: 'size_t',
    flags: 'int',
  });
  const inner = [
    'name',
    'nameLength',
    'vectors',
    'vectorCount',
    'control',
    'controlLength',
    'flags',
  ] as const;
  for (const member of inner) assert.equal(MMSGHDR[member], koffi.offsetof(header, member), member);
  const outer = offsets({ header, transferred: 'unsigned int' });
  assert.equal(MMSGHDR.transferred, outer['transferred']);
  assert.equal(MMSGHDR.size, outer['size']);
});

test('struct cmsghdr', () => {
  const c = offsets({ length: 'size_t', level: 'int', type: 'int' });
  assert.deepEqual(CMSGHDR, { length: c['length'], level: c['level'], type: c['type'], data: c['size'] });
});

test('struct in_pktinfo and in6_pktinfo', () => {
  const four = offsets({ interface: 'int', ours: bytes(4), destination: bytes(4) });
  assert.deepEqual(IN_PKTINFO, { interface: four['interface'], ours: four['ours'], size: four['size'] });
  const six = offsets({ address: koffi.array('uint32_t', 4), interface: 'unsigned int' });
  assert.deepEqual({ ...IN6_PKTINFO }, six);
});

test('an endpoint record has room for the largest address and the largest control message', () => {
  assert.ok(ENDPOINT.nameLength >= ENDPOINT.name + SOCKADDR_IN6.size);
  assert.ok(ENDPOINT.controlLength >= ENDPOINT.control + CMSGHDR.data + 24);
  assert.ok(ENDPOINT.size >= ENDPOINT.interface + 4);
  assert.equal(ENDPOINT.control % 8, 0);
  assert.equal(ENDPOINT.size % 8, 0);
});
