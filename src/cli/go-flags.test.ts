import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../errors.js';
import { parseGoFlags } from './go-flags.js';

const SPECS = {
  listen: { type: 'bool', help: '' },
  port: { type: 'int', help: '' },
  server: { type: 'string', help: '' },
  route: { type: 'strings', help: '' },
} as const;
const parse = (...args: string[]) => parseGoFlags(SPECS, args);
const refused = (message: RegExp, ...args: string[]) =>
  assert.throws(
    () => parse(...args),
    (error) => error instanceof LametunError && error.code === 'usage' && message.test(error.message),
  );

test('one dash or two mean the same, with or without =', () => {
  const expected = { server: 'h', port: 5 };
  assert.deepEqual(parse('-server', 'h', '-port', '5'), expected);
  assert.deepEqual(parse('--server', 'h', '--port=5'), expected);
  assert.deepEqual(parse('-server=h', '-port=5'), expected);
});

test('a boolean takes no separate value', () => {
  assert.deepEqual(parse('-listen', '-port=1'), { listen: true, port: 1 });
  for (const text of ['1', 't', 'T', 'true', 'TRUE', 'True'])
    assert.deepEqual(parse(`-listen=${text}`), { listen: true });
  for (const text of ['0', 'f', 'F', 'false', 'FALSE', 'False']) {
    assert.deepEqual(parse(`-listen=${text}`), { listen: false });
  }
  refused(/invalid boolean value "yes" for -listen/, '-listen=yes');
});

test('a flag may be given once, a list several times', () => {
  refused(/-port is given twice: give it once/, '-port=1', '-port=2');
  refused(/-listen is given twice/, '-listen', '-listen=false');
  refused(/-server is given twice/, '-server=a', '-server=b');
  assert.deepEqual(parse('-port=1', '-port=1'), { port: 1 });
  assert.deepEqual(parse('-route=a', '--route', 'b'), { route: ['a', 'b'] });
});

test('a value may look like a flag, or contain =', () => {
  assert.deepEqual(parse('-server', '-port'), { server: '-port' });
  assert.deepEqual(parse('-server=a=b'), { server: 'a=b' });
});

test('a value must not be empty or contain control characters', () => {
  refused(/-server is empty/, '-server=');
  refused(/-route is empty/, '-route', '');
  refused(/-server contains control characters/, '-server', 'home\n');
});

for (const [text, value] of [
  ['1234', 1234],
  ['0x10', 16],
  ['0X1f', 31],
  ['010', 8],
  ['0o17', 15],
  ['0b101', 5],
  ['1_000', 1000],
  ['-5', -5],
  ['+5', 5],
  ['0', 0],
] as const) {
  test(`the integer ${text} is ${value}, as in Go`, () =>
    assert.deepEqual(parse(`-port=${text}`), { port: value }));
}

for (const text of ['', 'x', '1.5', '1e3', '08', '0x', '1__0', '_1', '1_', ' 1', '99999999999999999999']) {
  test(`"${text}" is not an integer`, () =>
    refused(/invalid value ".*" for flag -port: parse error/, `-port=${text}`));
}

test('unknown arguments are refused by name', () => {
  refused(/flag provided but not defined: -verbos/, '-verbos');
  refused(/flag provided but not defined: -constructor/, '-constructor');
  refused(/flag needs an argument: -port/, '-port');
  refused(/bad flag syntax: ---port/, '---port');
  refused(/bad flag syntax: -=1/, '-=1');
  refused(/unexpected argument "true"/, '-listen', 'true');
  refused(/bad flag syntax: --$/, '--');
});
