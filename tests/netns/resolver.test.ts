import assert from 'node:assert/strict';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DecodedPacket, decode, encode, type Question, type RecordType, streamEncode } from 'dns-packet';
import { parseCidr } from '../../src/ip/cidr.js';
import { call, libc } from '../../src/linux/ffi/libc.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { Names } from '../../src/node/names/names.js';
import { Resolver, type ResolverOptions } from '../../src/node/names/resolver.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

const CLONE_NEWNET = 0x40000000;
const OWN = ['10.7.0.2', 'fd12::2'] as const;
const UPSTREAM = ['10.53.0.1', '10.53.0.2'] as const;
const OTHER = '10.9.9.9';

const names = new Names('home', [parseCidr('10.7.0.0/16')!, parseCidr('fd12::/64')!]);
names.set([{ name: 'office', ipv4: '10.7.0.9', ipv6: 'fd12::9' }]);

let home: number | undefined;
let namespace: Namespace | undefined;

/** The sockets of these tests are in their own namespace, where port 53 is free and addresses can be added. */
before((t) => {
  if (!needs(t as TestContext, 'netns')) return;
  namespace = Namespace.create(`lt-resolver-${process.pid}`);
  namespace.ip(
    [...OWN, ...UPSTREAM, OTHER].map((a) => `address add ${a} dev lo${a.includes(':') ? ' nodad' : ''}`),
  );
  home = openSync('/proc/thread-self/ns/net', 'r');
  const there = openSync(`/run/netns/${namespace.name}`, 'r');
  call(libc.setns(there, CLONE_NEWNET), 'setns');
  closeSync(there);
});
after(() => {
  if (home === undefined) return;
  call(libc.setns(home, CLONE_NEWNET), 'setns back');
  closeSync(home);
  namespace?.remove();
});

async function resolver(t: TestContext, options: Partial<ResolverOptions> = {}): Promise<Resolver> {
  const started = await Resolver.start({
    addresses: OWN,
    lookup: (name, type) => names.lookup(name, type),
    ...options,
  });
  t.after(() => started.close());
  return started;
}

interface FakeServer {
  readonly asked: DecodedPacket[];
  readonly ports: number[];
}

/** A name server whose answers come from the test. */
async function upstream(
  t: TestContext,
  address: string,
  answer: (query: DecodedPacket, tcp: boolean) => Buffer | Buffer[] | undefined,
): Promise<FakeServer> {
  const asked: DecodedPacket[] = [];
  const ports: number[] = [];
  const udp = createSocket('udp4');
  udp.on('message', (message, from) => {
    const query = decode(message);
    asked.push(query);
    ports.push(from.port);
    const reply = answer(query, false);
    for (const one of reply === undefined ? [] : [reply].flat()) udp.send(one, from.port, from.address);
  });
  udp.bind(53, address);
  await once(udp, 'listening');
  const tcp = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      const reply = answer(decode(data.subarray(2)), true) as Buffer | undefined;
      if (reply === undefined) return void socket.destroy();
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    });
  });
  tcp.listen(53, address);
  await once(tcp, 'listening');
  t.after(() => {
    udp.close();
    tcp.close();
  });
  return { asked, ports };
}

const reply = (query: DecodedPacket, data: string, flags = 0): Buffer =>
  encode({
    type: 'response',
    id: query.id!,
    flags,
    questions: query.questions!,
    answers: [{ type: 'A', name: query.questions![0]!.name, ttl: 60, data }],
  });
const SERVFAIL = 2;
const TRUNCATED = 0x200;

const queryOf = (name: string, type: string, more: { edns?: boolean; class?: string } = {}): Buffer =>
  encode({
    type: 'query',
    id: 4711,
    flags: 0x100,
    questions: [{ name, type: type as RecordType, ...(more.class && { class: more.class }) } as Question],
    additionals: more.edns
      ? [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: 4096,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0x8000,
            flag_do: true,
            options: [],
          },
        ]
      : [],
  });

function client(address: string, bindTo?: string): Promise<UdpSocket> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    const go = (): void => socket.connect(53, address, () => resolve(socket));
    if (bindTo === undefined) go();
    else socket.bind(0, bindTo, go);
  });
}

/** Sends a datagram, and returns the response if one arrives in time. */
async function exchange(
  message: Buffer,
  { address = OWN[0] as string, from = undefined as string | undefined, wait = 60_000 } = {},
) {
  const socket = await client(address, from);
  try {
    socket.send(message);
    const answer = await Promise.race([once(socket, 'message'), sleep(wait)]);
    return answer === undefined ? undefined : decode((answer as [Buffer])[0]);
  } finally {
    socket.close();
  }
}

async function exchangeTcp(messages: Buffer[], address: string = OWN[0]): Promise<DecodedPacket[]> {
  const socket = connect(53, address);
  const length = (message: Buffer): Buffer => Buffer.from([message.length >> 8, message.length & 255]);
  socket.write(Buffer.concat(messages.flatMap((message) => [length(message), message])));
  let read = Buffer.alloc(0);
  const found: DecodedPacket[] = [];
  for await (const chunk of socket) {
    read = Buffer.concat([read, chunk as Buffer]);
    while (read.length >= 2 && read.length >= 2 + read.readUInt16BE(0)) {
      found.push(decode(read.subarray(2, 2 + read.readUInt16BE(0))));
      read = read.subarray(2 + read.readUInt16BE(0));
    }
    if (found.length === messages.length) break;
  }
  return found;
}

const rcode = (packet: DecodedPacket | undefined): string => (packet as unknown as { rcode: string }).rcode;
const data = (packet: DecodedPacket | undefined): unknown[] =>
  packet!.answers!.map((answer) => ('data' in answer ? answer.data : undefined));

test('network names are answered by UDP and TCP, over IPv4 and IPv6', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t);
  for (const address of OWN) {
    const four = await exchange(queryOf('office.home.lametun', 'A'), { address });
    assert.deepEqual(data(four), ['10.7.0.9']);
    assert.equal(four!.id, 4711);
    assert.ok(four!.flag_aa && four!.flag_ra);
    assert.ok((four!.answers![0] as { ttl: number }).ttl <= 10);
    const [six, reverse] = await exchangeTcp(
      [queryOf('OFFICE.home.lametun', 'AAAA'), queryOf('9.0.7.10.in-addr.arpa', 'PTR')],
      address,
    );
    assert.deepEqual(data(six), ['fd12::9']);
    assert.equal(six!.questions![0]!.name, 'OFFICE.home.lametun', 'the spelling of the query');
    assert.deepEqual(data(reverse), ['office.home.lametun']);
  }
});

test('NXDOMAIN and NODATA differ, each with an SOA for its TTL', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t);
  const none = await exchange(queryOf('nobody.home.lametun', 'A'));
  assert.equal(rcode(none), 'NXDOMAIN');
  for (const type of ['MX', 'UNKNOWN_65', 'TXT']) {
    const empty = await exchange(queryOf('office.home.lametun', type, { edns: true }));
    assert.equal(rcode(empty), 'NOERROR');
    assert.equal(empty!.answers!.length, 0);
    assert.equal(empty!.authorities![0]!.type, 'SOA');
    assert.equal(empty!.additionals![0]!.type, 'OPT', 'EDNS in the answer if in the query');
  }
  const zone = await exchange(queryOf('home.lametun', 'SOA'));
  assert.equal(zone!.answers![0]!.type, 'SOA');
  assert.equal(none!.additionals!.length, 0, 'no EDNS otherwise');
});

test('without upstream name servers, other names are refused', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t);
  assert.equal(rcode(await exchange(queryOf('example.com', 'A'))), 'REFUSED');
  assert.equal(rcode(await exchange(queryOf('office.home.lametun', 'A', { class: 'CH' }))), 'REFUSED');
});

test('other names are forwarded to the name server, from random ports and with random ids', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t, { upstreams: () => [UPSTREAM[0]] });
  const server = await upstream(t, UPSTREAM[0], (query) => reply(query, '192.0.2.1'));
  for (let i = 0; i < 8; i++) {
    const answer = await exchange(queryOf(`www${i}.example.com`, 'A', { edns: true }));
    assert.deepEqual(data(answer), ['192.0.2.1']);
    assert.equal(answer!.id, 4711);
  }
  assert.equal(server.asked[0]!.additionals![0]!.type, 'OPT', 'the query is forwarded unchanged');
  assert.ok(new Set(server.ports).size > 6);
  assert.ok(new Set(server.asked.map(({ id }) => id)).size > 6);
});

test('a name server that is silent, gone or failing is skipped', async (t) => {
  if (!needs(t, 'netns')) return;
  let mode = 'silent';
  await resolver(t, { upstreams: () => [mode === 'gone' ? '10.53.0.77' : UPSTREAM[0], UPSTREAM[1]] });
  await upstream(t, UPSTREAM[0], (query) =>
    mode === 'silent' ? undefined : reply(query, '192.0.2.66', SERVFAIL),
  );
  await upstream(t, UPSTREAM[1], (query) => reply(query, '192.0.2.2'));
  for (mode of ['silent', 'gone', 'fails']) {
    const start = performance.now();
    assert.deepEqual(data(await exchange(queryOf(`${mode}.example.com`, 'A'))), ['192.0.2.2'], mode);
    assert.ok(performance.now() - start < 5000, 'before programs give up');
  }
});

test('if no name server answers, the client gets SERVFAIL', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t, { upstreams: () => ['10.53.0.77'] });
  assert.equal(rcode(await exchange(queryOf('example.com', 'A'))), 'SERVFAIL');
});

test('an answer with a wrong id or another question is ignored', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t, { upstreams: () => [UPSTREAM[0]] });
  await upstream(t, UPSTREAM[0], (query) => [
    reply({ ...query, id: query.id! ^ 1 }, '192.0.2.66'),
    reply({ ...query, questions: [{ name: 'evil.example.com', type: 'A' }] }, '192.0.2.67'),
    encode({ type: 'query', id: query.id!, questions: query.questions! }),
    Buffer.from('junk'),
    reply(query, '192.0.2.1'),
  ]);
  assert.deepEqual(data(await exchange(queryOf('example.com', 'A'))), ['192.0.2.1']);
});

test('a truncated answer is passed on by UDP, and fetched whole for a client that uses TCP', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t, { upstreams: () => [UPSTREAM[0]] });
  await upstream(t, UPSTREAM[0], (query, tcp) =>
    tcp ? reply(query, '192.0.2.9') : reply(query, '192.0.2.8', TRUNCATED),
  );
  assert.ok((await exchange(queryOf('example.com', 'A')))!.flag_tc);
  const [whole] = await exchangeTcp([queryOf('example.com', 'A')]);
  assert.deepEqual(data(whole), ['192.0.2.9']);
  assert.ok(!whole!.flag_tc);
});

test('queries from other machines are dropped and counted', async (t) => {
  if (!needs(t, 'netns')) return;
  const { drops } = await resolver(t);
  const message = queryOf('office.home.lametun', 'A');
  const answer = exchange(message, { from: OTHER, wait: 300 });
  await until('the query to be counted', () => drops.foreign === 1);
  assert.equal(await answer, undefined);
  const socket = connect({ port: 53, host: OWN[0], localAddress: OTHER });
  socket.on('error', () => {});
  socket.end(streamEncode({ type: 'query', questions: [{ name: 'office.home.lametun', type: 'A' }] }));
  const read: Buffer[] = [];
  socket.on('data', (chunk) => read.push(chunk));
  await once(socket, 'close');
  assert.deepEqual([read.length, drops.foreign], [0, 2]);
});

test('names of another network on this machine are forwarded to its node, and only once', async (t) => {
  if (!needs(t, 'netns')) return;
  const work = new Names('work', [parseCidr('10.8.0.0/16')!]);
  work.set([{ name: 'printer', ipv4: '10.8.0.9', ipv6: 'fd13::9' }]);
  const isTheirs = (name: string): boolean => /(work|lost)\.lametun$|8\.10\.in-addr\.arpa$/.test(name);
  let asked = 0;
  // Each node believes that the other knows `lost`; neither does.
  await resolver(t, { siblings: (name) => (isTheirs(name) ? [UPSTREAM[1]] : []) });
  const other = await Resolver.start({
    addresses: [UPSTREAM[1]],
    lookup: (name, type) => {
      asked++;
      return work.lookup(name, type);
    },
    siblings: (name) => (name.endsWith('lost.lametun') ? [OWN[0]] : []),
  });
  t.after(() => other.close());
  const found = await exchange(queryOf('printer.work.lametun', 'A', { edns: true }));
  assert.deepEqual(data(found), ['10.8.0.9']);
  assert.ok(found!.flag_rd && found!.flag_ra && found!.id === 4711);
  assert.deepEqual(data(await exchange(queryOf('9.0.8.10.in-addr.arpa', 'PTR'))), ['printer.work.lametun']);
  assert.equal(rcode(await exchange(queryOf('nobody.work.lametun', 'A'))), 'NXDOMAIN');
  const [byTcp] = await exchangeTcp([queryOf('printer.work.lametun', 'A')]);
  assert.deepEqual(data(byTcp), ['10.8.0.9']);
  asked = 0;
  assert.equal(rcode(await exchange(queryOf('x.lost.lametun', 'A'))), 'REFUSED');
  assert.equal(asked, 1);
  assert.equal(other.drops.foreign, 0);
});

test('queries are not forwarded to a sibling whose address is not on this machine', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t, { siblings: () => ['192.0.2.7'], upstreams: () => [UPSTREAM[0]] });
  const server = await upstream(t, UPSTREAM[0], (query) => reply(query, '192.0.2.1'));
  for (const [answer] of [
    [await exchange(queryOf('printer.work.lametun', 'A'))],
    await exchangeTcp([queryOf('printer.work.lametun', 'A')]),
  ]) {
    assert.equal(rcode(answer), 'SERVFAIL');
  }
  // Networks can have the same name: only the sibling could say that no such node exists.
  assert.equal(rcode(await exchange(queryOf('nobody.home.lametun', 'A'))), 'SERVFAIL');
  const withoutRecursion = queryOf('printer.work.lametun', 'A');
  withoutRecursion[2]! &= ~1;
  assert.equal(rcode(await exchange(withoutRecursion)), 'REFUSED');
  assert.equal(server.asked.length, 0, 'nor is the upstream server');
});

test('malformed queries are dropped and counted, and the next query is answered', async (t) => {
  if (!needs(t, 'netns')) return;
  const { drops } = await resolver(t);
  const good = queryOf('office.home.lametun', 'A');
  const twoQuestions = Buffer.from(good);
  twoQuestions[5] = 2;
  const pointer = Buffer.from(good);
  pointer[12] = 0xc0;
  const junk = [
    Buffer.alloc(0),
    Buffer.alloc(11),
    Buffer.alloc(600, 255),
    twoQuestions,
    pointer,
    good.subarray(0, 20),
    encode({ type: 'response', questions: [{ name: 'a', type: 'A' }] }),
  ];
  for (let cut = 12; cut < good.length - 1; cut++) junk.push(good.subarray(0, cut));
  const socket = await client(OWN[0]);
  for (const message of junk) socket.send(message);
  await until('all drops to be counted', () => drops.malformed === junk.length);
  assert.deepEqual(data(await exchange(good)), ['10.7.0.9']);
  socket.close();
});

test('a name server that sends queries back to this resolver causes no storm', async (t) => {
  if (!needs(t, 'netns')) return;
  await resolver(t, { upstreams: () => [OWN[0], UPSTREAM[0]] });
  let handed = 0;
  // As dnsmasq does if it takes its upstream servers from /etc/resolv.conf.
  await upstream(t, UPSTREAM[0], (query) => {
    handed++;
    void exchange(encode({ ...query, type: 'query', id: 99, flags: 0x100 }), { wait: 5000 });
    return undefined;
  });
  const answer = await exchange(queryOf('example.com', 'A'));
  assert.equal(rcode(answer), 'SERVFAIL');
  assert.ok(handed <= 4, `${handed} times`);
});

test('excess queries are dropped and counted, and network names are still answered', async (t) => {
  if (!needs(t, 'netns')) return;
  const { drops } = await resolver(t, { upstreams: () => ['10.53.0.78'] });
  const quiet = createSocket('udp4');
  quiet.bind(53, OTHER);
  await once(quiet, 'listening');
  t.after(() => quiet.close());
  const started = await Resolver.start({
    addresses: ['10.53.0.2'],
    lookup: () => undefined,
    upstreams: () => [OTHER],
  });
  t.after(() => started.close());
  const socket = await client('10.53.0.2');
  t.after(() => socket.close());
  for (let i = 0; i < 300; i++) {
    socket.send(queryOf(`n${i}.example.com`, 'A'));
    if (i % 20 === 0) await sleep(5); // so that the socket's queue does not overflow
  }
  await until('the excess queries to be dropped', () => started.drops.busy > 0);
  assert.ok(started.drops.busy <= 300 - 256);
  assert.equal(drops.busy, 0);
  assert.deepEqual(data(await exchange(queryOf('office.home.lametun', 'A'))), ['10.7.0.9']);
});

test('a port in use by another name server is reported', async (t) => {
  if (!needs(t, 'netns')) return;
  const taken = createSocket('udp4');
  taken.bind(53, '0.0.0.0');
  await once(taken, 'listening');
  const start = (addresses: readonly string[]) => Resolver.start({ addresses, lookup: () => undefined });
  await assert.rejects(start([OWN[0]]), {
    code: 'linux',
    message: /port 53 of 10\.7\.0\.2: another name server/,
  });
  const partly = await start(OWN);
  assert.deepEqual(partly.addresses, [OWN[1]], 'the other address is served');
  partly.close();
  taken.close();
});
