import { COUNTER_LIMIT } from './constants.js';

/**
 * The sliding window of [W] 5.4.6 (after RFC 6479): which counters were received under one key.
 *
 * It is flat, to fit a table shared with the data plane: words of a Uint32Array from `at` on,
 * the largest counter so far as two words, then a ring of bits. The ring has wireguard-go's depth: 128 blocks of
 * 64 bits. The newest block is partly filled, so a counter may always lag by `REPLAY.window`.
 */
export const REPLAY = { low: 0, high: 1, ring: 2, words: 2 + 256, window: 127 * 64 } as const;

const BLOCKS = 128;
/** log2 of the bits of a block. */
const BLOCK_BITS = 6;

/** Forgets all counters, for a new key. */
export function replayReset(words: Uint32Array, at: number): void {
  words.fill(0, at, at + REPLAY.words);
}

/**
 * Records a counter after its packet was opened. Recorded earlier, a forged packet would use counters up.
 *
 * @param counter an integer, exact or, from 2^53 on, refused
 * @returns false when it was received before, is older than the window, or cannot be told apart as a double
 */
export function replayAccept(words: Uint32Array, at: number, counter: number): boolean {
  if (counter >= COUNTER_LIMIT) return false;
  const low = words[at + REPLAY.low]!;
  const newest = words[at + REPLAY.high]! * 2 ** 32 + low;
  if (counter > newest) {
    const newestBlock = low >>> BLOCK_BITS;
    const fresh = Math.min(Math.floor(counter / 64) - Math.floor(newest / 64), BLOCKS);
    for (let i = 1; i <= fresh; i++) {
      const slot = at + REPLAY.ring + ((newestBlock + i) & (BLOCKS - 1)) * 2;
      words[slot] = 0;
      words[slot + 1] = 0;
    }
    words[at + REPLAY.high] = Math.floor(counter / 2 ** 32);
    words[at + REPLAY.low] = counter >>> 0;
  } else if (newest - counter > REPLAY.window) {
    return false;
  }
  const word = at + REPLAY.ring + wordOf(counter);
  const mask = 1 << (counter & 31);
  if ((words[word]! & mask) !== 0) return false;
  words[word] = words[word]! | mask;
  return true;
}

/** Whether `replayAccept` would refuse. Cheap, for use before a packet is opened. It records nothing. */
export function replayWouldRefuse(words: Uint32Array, at: number, counter: number): boolean {
  if (counter >= COUNTER_LIMIT) return true;
  const newest = words[at + REPLAY.high]! * 2 ** 32 + words[at + REPLAY.low]!;
  if (counter > newest) return false;
  if (newest - counter > REPLAY.window) return true;
  return (words[at + REPLAY.ring + wordOf(counter)]! & (1 << (counter & 31))) !== 0;
}

/** Which word of the ring has a counter's bit. Its low 32 bits decide: `>>>` takes them, where `%` would be fmod(3). */
const wordOf = (counter: number): number => (counter >>> 5) & (2 * BLOCKS - 1);
