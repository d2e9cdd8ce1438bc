import type { Memory } from '../linux/ffi/memory.js';

/**
 * RFC 8439 §2.8: lengths of key, nonce and tag in bytes. `before` and `behind` are what an implementation may use around
 * a message: bytes in front of the input and of the output, and bytes behind their tags.
 */
export const AEAD = { key: 32, nonce: 12, tag: 16, before: 64, behind: 16 } as const;

/** Layout of `ChaCha20Poly1305.parameters`. The four bytes in front of the nonce are ChaCha20's block counter: zero. */
export const PARAMETERS = {
  blockCounter: 0,
  nonce: 4,
  data: 16,
  maxData: 2048,
  size: 16 + 2048 + 16,
} as const;

/**
 * ChaCha20-Poly1305, RFC 8439, over memory that is named by address. The caller writes the nonce, and the associated data if
 * any, into `parameters` before each call. The key is given with every call; `forget` wipes what is left of the last one.
 * One thread, one instance.
 */
export interface ChaCha20Poly1305 {
  /** The implementation's name, for a log. */
  readonly name: string;
  /** See `PARAMETERS`. */
  readonly parameters: Memory;
  /**
   * Encrypts `length` bytes and writes the tag behind them. The bytes in front of the output keep their value;
   * `AEAD.before` bytes in front of the input and `AEAD.behind` bytes behind the tag do not.
   *
   * @param key address of 32 bytes
   * @param dataLength how many bytes of associated data there are
   * @param at offset of the input in `from`
   * @param out offset of the output in `to`; not inside the input
   */
  seal(
    key: number,
    dataLength: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): void;
  /**
   * Decrypts `length` bytes; their tag stands behind them. The bytes behind the tag keep their value; the tag and
   * `AEAD.before` bytes in front of the input and of the output do not.
   *
   * @param at offset of the input in `from`
   * @param out offset of the output in `to`; not inside the input
   * @returns whether the tag is right; if not, the output is garbage
   */
  open(
    key: number,
    dataLength: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): boolean;
  /** Wipes what is left of the last key. */
  forget(): void;
}
