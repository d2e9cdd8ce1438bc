import type { Memory } from '../linux/ffi/memory.js';

/**
 * RFC 8439 §2.8: key, nonce and tag lengths in bytes. Then what an implementation may use around a message: so many
 * bytes in front of what it reads and of what it writes, and behind their tags.
 */
export const AEAD = { key: 32, nonce: 12, tag: 16, before: 64, behind: 16 } as const;

/**
 * ChaCha20-Poly1305 without associated data, as WireGuard's transport uses it ([W] 5.4.6), over memory that is
 * named by address. The key is given with every call and kept nowhere else; `forget` wipes the copy of the
 * last one. One thread, one instance.
 */
export interface Aead {
  /** Which implementation this is, for a log. */
  readonly name: string;
  /**
   * Encrypts `length` bytes, and writes the tag behind them. What is in front of the output stays as it is;
   * `AEAD.before` bytes in front of the input, and `AEAD.behind` bytes behind the tag, do not.
   *
   * @param key address of 32 bytes
   * @param counter the nonce's last 8 bytes, below 2^53; the first 4 are zero
   * @param at where the input is in `from`
   * @param out where the output is to be in `to`; not in the input
   */
  seal(key: number, counter: number, from: Memory, at: number, to: Memory, out: number, length: number): void;
  /**
   * Decrypts `length` bytes, behind which the tag stands. What is behind the tag stays as it is; the tag and
   * `AEAD.before` bytes in front of the input, and of the output, do not.
   *
   * @param at where the input is in `from`
   * @param out where the output is to be in `to`; not in the input
   * @returns whether the tag is right; if not, what stands at the output is garbage
   */
  open(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): boolean;
  /** Wipes what is left of the last key. */
  forget(): void;
}
