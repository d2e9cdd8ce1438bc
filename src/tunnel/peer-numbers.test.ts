import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SharedRing } from '../linux/threads/shared-ring.js';
import type { PeerNumber } from '../wireguard/numbers.js';
import { PeerNumbers } from './peer-numbers.js';

const ADD = 1;
const REMOVE = 2;
/** A record in these rings: the command, a peer's number, and the peer that is meant. */
const RECORD = { what: 0, id: 4, who: 8, size: 16 } as const;

/** Simulates both threads: each makes a step on demand, and records between them wait in the rings. */
class Threads {
  readonly commands = new SharedRing(RECORD.size, 64);
  readonly reports = new SharedRing(RECORD.size, 8);
  readonly wakeUps = new SharedRing(RECORD.size, 8);
  readonly numbers = new PeerNumbers(this.commands, [this.reports, this.wakeUps]);
  /** Each thread's view of which peer has a number. */
  readonly known = new Map<PeerNumber, number>();
  readonly served = new Map<number, number>();
  #nextPeer = 1;

  add(): void {
    const id = this.numbers.take();
    assert.ok(!this.known.has(id), 'two peers have one number');
    const who = this.#nextPeer++;
    this.known.set(id, who);
    this.#write(this.commands, ADD, id, who);
  }

  remove(nth: number): void {
    const id = [...this.known.keys()][nth % this.known.size];
    if (id === undefined) return;
    this.known.delete(id);
    this.#write(this.commands, REMOVE, id, 0);
    this.numbers.giveBack(id);
  }

  /** The worker executes a command. */
  execute(): void {
    const at = this.commands.peek();
    if (at < 0) return;
    const id = this.commands.view.getUint32(at + RECORD.id);
    if (this.commands.view.getUint32(at) === ADD)
      this.served.set(id, this.commands.view.getUint32(at + RECORD.who));
    else this.served.delete(id);
    this.commands.release();
  }

  /** The worker reports something about a peer. */
  report(ring: SharedRing, nth: number): void {
    const [id, who] = [...this.served][nth % this.served.size] ?? [];
    if (id !== undefined && who !== undefined) this.#write(ring, 0, id, who);
  }

  /** The control plane reads a report. */
  read(ring: SharedRing): void {
    const at = ring.peek();
    if (at < 0) return;
    const known = this.known.get(ring.view.getUint32(at + RECORD.id) as PeerNumber);
    const who = ring.view.getUint32(at + RECORD.who);
    assert.ok(known === undefined || known === who, `a report about peer ${who} was read as peer ${known}`);
    ring.release();
    this.numbers.reclaim();
  }

  #write(ring: SharedRing, what: number, id: number, who: number): void {
    const at = ring.claim();
    if (at < 0) {
      assert.notEqual(ring, this.commands, 'the ring of commands is full');
      return;
    }
    ring.view.setUint32(at + RECORD.what, what);
    ring.view.setUint32(at + RECORD.id, id);
    ring.view.setUint32(at + RECORD.who, who);
    ring.commit();
  }
}

const STEPS = ['add', 'remove', 'execute', 'report', 'wake-up', 'read report', 'read wake-up'] as const;

test('no waiting record is read as another peer’s, whichever peers come and go', () => {
  const step = fc.tuple(fc.constantFrom(...STEPS), fc.nat(7));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
      const threads = new Threads();
      for (const [what, nth] of steps) {
        if (threads.commands.pending === 64) threads.execute();
        if (what === 'add') threads.add();
        else if (what === 'remove') threads.remove(nth);
        else if (what === 'execute') threads.execute();
        else if (what === 'report') threads.report(threads.reports, nth);
        else if (what === 'wake-up') threads.report(threads.wakeUps, nth);
        else threads.read(what === 'read wake-up' ? threads.wakeUps : threads.reports);
      }
    }),
    { numRuns: 200 },
  );
});

test('numbers are reused, however many peers come and go', () => {
  const threads = new Threads();
  const ids = new Set<number>();
  for (let i = 0; i < 1000; i++) {
    threads.add();
    for (const id of threads.known.keys()) ids.add(id);
    while (threads.commands.pending > 0) threads.execute();
    threads.report(threads.wakeUps, 0);
    threads.remove(0);
    threads.execute();
    threads.report(threads.wakeUps, 0);
    while (threads.wakeUps.pending > 0) threads.read(threads.wakeUps);
  }
  assert.ok(ids.size <= 2, `${ids.size} numbers, although there was one peer at a time`);
});

test('a number is reserved until the worker has read the removal and no waiting report can contain it', () => {
  const threads = new Threads();
  threads.add(); // 0
  threads.execute();
  threads.report(threads.reports, 0);
  threads.remove(0);
  assert.equal(threads.numbers.take(), 1, 'the worker may report more about 0');
  threads.execute();
  assert.equal(threads.numbers.take(), 2, 'a report about 0 waits');
  threads.read(threads.reports);
  assert.equal(threads.numbers.take(), 0);
});
