import { COUNTER_LIMIT } from './constants.js';

/**
 * The sliding window of [W] 5.4.6 (after RFC 6479): which counters were received under one key.
 *
 * It is flat, so that it can lie in a table shared with the data plane: words of a Uint32Array from `at` on,
 * the largest counter so far as two words, then a ring of bits. The ring has wireguard-go's depth: 128 blocks of
 * 64 bits. The newest block is only filled in part, so a counter may always lag by `REPLAY.window`.
 */
export const REPLAY = { low: 0, high: 1, ring: 2, words: 2 + 256, window: 127 * 64 } as const;

const BLOCKS = 128;

/** Forgets all counters: for a new key. */
export function replayReset(words: Uint32Array, at: number): void {
  words.fill(0, at, at + REPLAY.words);
}

/**
 * Records a counter whose packet was authentic. Check first and record at once: a packet is not authentic
 * before it is opened, and recording it earlier would let a stranger use counters up.
 *
 * @param counter an integer, exact or, from 2^53 on, refused
 * @returns false when it was received before, is older than the window, or cannot be told apart as a double
 */
export function replayAccept(words: Uint32Array, at: number, counter: number): boolean {
  if (counter >= COUNTER_LIMIT) return false;
  const newest = words[at + REPLAY.high]! * 2 ** 32 + words[at + REPLAY.low]!;
  const block = Math.floor(counter / 64);
  if (counter > newest) {
    const newestBlock = Math.floor(newest / 64);
    const fresh = Math.min(block - newestBlock, BLOCKS);
    for (let i = 1; i <= fresh; i++) {
      const slot = at + REPLAY.ring + ((newestBlock + i) % BLOCKS) * 2;
      words[slot] = 0;
      words[slot + 1] = 0;
    }
    words[at + REPLAY.high] = Math.floor(counter / 2 ** 32);
    words[at + REPLAY.low] = counter % 2 ** 32;
  } else if (newest - counter > REPLAY.window) {
    return false;
  }
  const bit = counter % 64;
  const word = at + REPLAY.ring + (block % BLOCKS) * 2 + (bit >> 5);
  const mask = 1 << (bit & 31);
  if ((words[word]! & mask) !== 0) return false;
  words[word] = words[word]! | mask;
  return true;
}

/** Whether `replayAccept` would refuse: cheap, before the cost of opening a packet. It records nothing. */
export function replayWouldRefuse(words: Uint32Array, at: number, counter: number): boolean {
  if (counter >= COUNTER_LIMIT) return true;
  const newest = words[at + REPLAY.high]! * 2 ** 32 + words[at + REPLAY.low]!;
  if (counter > newest) return false;
  if (newest - counter > REPLAY.window) return true;
  const bit = counter % 64;
  return (
    (words[at + REPLAY.ring + (Math.floor(counter / 64) % BLOCKS) * 2 + (bit >> 5)]! & (1 << (bit & 31))) !==
    0
  );
}
