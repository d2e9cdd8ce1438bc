import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conditions, makeDocument } from './document.js';
import type { Results } from './section.js';

const measured = (section: string, rounds: number): Results =>
  ({
    section,
    metrics: {},
    rounds: { ours: Array(rounds).fill({}), other: Array(rounds).fill({}) },
  }) as unknown as Results;

test('documents measured under different conditions say so, with the most frequent ones first', () => {
  const long = makeDocument([measured('tcp', 5), measured('udp', 5), measured('ping', 5)], 2);
  const short = makeDocument([measured('start', 3), measured('plain', 3)], 1);
  assert.match(conditions(long)[0]!, /^Medians of 5 interleaved rounds of 2 s, measured on /);
  const both = { ...short, sections: [...short.sections, ...long.sections] };
  assert.match(
    conditions(both)[0]!,
    /^Medians of 5 interleaved rounds of 2 s \(start, plain: 3 of 1 s\), measured on /,
  );
});
