import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeBill, debianComponents, nodeComponents } from './sbom.js';

const bill = (serialNumber: string, timestamp: string, name = 'clone'): string =>
  JSON.stringify({
    bomFormat: 'CycloneDX',
    serialNumber,
    metadata: { timestamp, component: { name } },
    components: [{ name: 'ws' }],
  });

test('two bills of one commit are the same text', () => {
  const one = completeBill(bill('urn:uuid:1', '2026-01-01T00:00:00.000Z'), [], 1_796_000_000);
  const two = completeBill(bill('urn:uuid:2', '2026-02-02T00:00:00.000Z', 'other'), [], 1_796_000_000);
  assert.equal(one, two);
  assert.match(one, /"timestamp": "2026-11-30T00:53:20.000Z"/);
});

test('the bill has what is in Node.js and in the image, after the packages of npm', () => {
  const more = [
    ...nodeComponents({ node: '24.1.0', openssl: '3.5.0', modules: '137' }),
    ...debianComponents('dash 0.5.12-2, libgmp10 2:6.2.1'),
  ];
  const { components } = JSON.parse(completeBill(bill('', ''), more, 0)) as {
    readonly components: readonly { readonly name: string; readonly purl?: string }[];
  };
  assert.deepEqual(
    components.map(({ name }) => name),
    ['ws', 'node', 'openssl', 'dash', 'libgmp10'],
  );
  assert.equal(components.at(-1)?.purl, 'pkg:deb/debian/libgmp10@2%3A6.2.1');
});
