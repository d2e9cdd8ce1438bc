import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../errors.js';
import { parsePlainFlags, plainOptions } from './plain-options.js';

const LISTEN = ['-listen'] as const;

/** Arguments, and what the error must contain. */
const USAGE_ERRORS: readonly (readonly [args: readonly string[], says: RegExp])[] = [
  [['-port', '1234'], /no role given: pass -listen, or -server HOST/],
  [['-listen', '-server', '192.0.2.1'], /-listen and -server contradict each other/],
  [['-bogus'], /-bogus/],
  [['--bogus=1'], /-bogus/],
  [['-=x'], /-=x/],
  [['-port'], /-port/],
  [['-port', 'x', ...LISTEN], /"x" for flag -port/],
  [['-port=', ...LISTEN], /-port/],
  [['-port', '0', ...LISTEN], /-port 0 .*1 to 65535/],
  [['-port', '65536', ...LISTEN], /-port 65536 .*1 to 65535/],
  [['-port', '1e3', ...LISTEN], /"1e3" for flag -port/],
  [['-listen=maybe'], /"maybe" for -listen/],
  [['-server'], /-server/],
  [[...LISTEN, 'extra'], /extra/],
  [[...LISTEN, '-address', '10.0.0.1'], /-address "10\.0\.0\.1" .*10\.0\.0\.1\/24/],
  [[...LISTEN, '-address', '10.0.0.256/24'], /10\.0\.0\.256\/24/],
  [[...LISTEN, '-address', '010.0.0.1/24'], /010\.0\.0\.1\/24/],
  [[...LISTEN, '-address', 'fd00::1/129'], /fd00::1\/129/],
  [[...LISTEN, '-mtu', '67'], /-mtu 67 .*68 to/],
  [[...LISTEN, '-mtu', '1279', '-address', 'fd00::1/64'], /-mtu 1279 .*1280 to/],
  [[...LISTEN, '-mtu', '1279', '-route', 'fd00::/64'], /-mtu 1279 .*1280 to/],
  [[...LISTEN, '-mtu', '70000'], /-mtu 70000/],
  [[...LISTEN, '-route', '192.168.50.1/24'], /192\.168\.50\.1\/24.*host bits/],
  [[...LISTEN, '-route', 'office'], /-route "office"/],
  [[...LISTEN, '-peer', 'home.example'], /-peer "home\.example" .*203\.0\.113\.7/],
  [['-server', '192.0.2.1', '-peer', '192.0.2.1'], /-peer/],
  [[...LISTEN, '-device', 'a-name-that-is-too-long'], /a-name-that-is-too-long.*15/],
  [[...LISTEN, '-device', 'tun/0'], /tun\/0/],
  [[...LISTEN, '-device', ''], /device/],
];

for (const [args, says] of USAGE_ERRORS) {
  test(`usage error: lametun ${args.map((arg) => (arg === '' ? "''" : arg)).join(' ')}`, () =>
    assert.throws(
      () => plainOptions(parsePlainFlags(args)),
      (error) => {
        assert.ok(error instanceof LametunError, `${error}`);
        assert.equal(error.code, 'usage');
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      },
    ));
}
