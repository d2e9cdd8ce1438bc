import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as v from 'valibot';
import { prose } from './fields.js';
import { forTerminal, isShown } from './text.js';

/** Control characters (Cc), Bidi_Control, and the line and paragraph separators, from Unicode's property lists. */
const HARMFUL = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u;

test('control characters, direction changes and line separators are not displayed', () => {
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const text = String.fromCodePoint(code);
    const name = `U+${code.toString(16)}`;
    assert.equal(isShown(text), !HARMFUL.test(text), name);
    if (code > 0xffff) continue; // the schema is slower, and excludes none above
    assert.equal(v.is(prose(2), text), isShown(text), name);
  }
});

test('a terminal gets only lines of text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const shown = forTerminal(text);
      assert.equal(shown.length, text.length);
      assert.ok(shown.split('\n').every(isShown));
      if (text.split('\n').every(isShown)) assert.equal(shown, text);
    }),
  );
  assert.equal(forTerminal('a\x1b]0;title\x07b\rc\u202ed\ne'), 'a\ufffd]0;title\ufffdb\ufffdc\ufffdd\ne');
});
