import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HubAddress } from '../../protocol/token.js';
import { byToken, type HubAddresses, reached, searched, told } from './hub-addresses.js';

const at = (host: string): HubAddress => ({ host, port: 443, tls: false });
const hosts = (known: HubAddresses): string[] => searched(known).map(({ host }) => host);

test('after a hub moves, its new addresses are tried first, and the old ones are kept', () => {
  let known = byToken(undefined, [at('old'), at('never')]);
  known = told(known, [at('old'), at('new')]);
  known = reached(known, at('old'));
  known = told(known, [at('new')]);
  assert.deepEqual(hosts(known), ['new', 'old', 'never']);
  known = told(known, []);
  assert.deepEqual(hosts(known), ['new', 'old', 'never'], 'a hub without a network takes nothing away');
});

test('a wrong address of the hub is gone once the hub announces another', () => {
  let known = reached(byToken(undefined, [at('good')]), at('good'));
  known = told(told(known, [at('wrong')]), [at('other')]);
  assert.deepEqual(hosts(known), ['other', 'good']);
});

test("a new token's addresses are tried first, and no proven address is lost", () => {
  const known = reached(byToken(undefined, [at('old')]), at('old'));
  assert.deepEqual(hosts(byToken(known, [at('new')])), ['new', 'old']);
});

test('no announcement of a hub removes the address that worked last', () => {
  const words = fc.array(fc.array(fc.domain().map(at), { maxLength: 8 }), { maxLength: 50 });
  fc.assert(
    fc.property(words, (lists) => {
      let known = reached(byToken(undefined, [at('a'), at('b')]), at('b'));
      for (const list of lists) known = told(known, list);
      assert.ok(hosts(known).includes('a') && hosts(known).includes('b'));
      assert.ok(searched(known).length <= 24);
    }),
  );
});
