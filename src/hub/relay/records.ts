import { type Memory, mapShared } from '../../linux/ffi/memory.js';
import { SharedRing } from '../../linux/threads/shared-ring.js';
import { RELAY_FRAME } from '../../protocol/relay.js';

/** Commands from the relay's main thread to its worker. */
export const COMMAND = { attach: 1, detach: 2, stop: 3 } as const;

/** A command: what u32, row u32, id u32, tag i32, key 32 bytes. The key is wiped when it was read. */
export const COMMAND_RECORD = { command: 0, row: 4, id: 8, tag: 12, key: 16, size: 48 } as const;
export const COMMANDS = 1024;

/**
 * A frame between the threads: row of the receiver u32 (down only), its id u32, the sender's id u32, length of the
 * datagram u32, then a relay frame: header and datagram.
 */
export const FRAME_RECORD = {
  row: 0,
  to: 4,
  from: 8,
  length: 12,
  frame: 16,
  datagram: 16 + RELAY_FRAME.payload,
  size: 16 + RELAY_FRAME.payload + RELAY_FRAME.maxPayload,
} as const;
export const FRAMES = 1024;

/**
 * The writer's side of a ring of frames that no sender can fill alone: a sender may have as many records in it as are free
 * (a dynamic threshold, Choudhury and Hahne 1998). One sender alone gets half of them, three senders a quarter each, and there
 * is always room for a sender that has none.
 */
export class FairRing {
  readonly ring: SharedRing;
  readonly memory: Memory;
  /** By sender's row, its unread records. */
  readonly #held: Int32Array;
  /** The senders of the written records, oldest first, as a ring. */
  readonly #owners = new Int32Array(FRAMES);
  #oldest = 0;
  #count = 0;

  constructor(senders: number, buffer?: SharedArrayBuffer) {
    this.ring = new SharedRing(FRAME_RECORD.size, FRAMES, buffer);
    this.memory = mapShared(this.ring.buffer);
    this.#held = new Int32Array(senders);
  }

  /** The offset for a sender's next record; -1 if there is no room. Then call `commit`, or nothing. */
  claim(sender: number): number {
    const { pending } = this.ring;
    for (; this.#count > pending; this.#count--) {
      this.#held[this.#owners[this.#oldest]!]!--;
      this.#oldest = (this.#oldest + 1) % FRAMES;
    }
    return this.#held[sender]! < FRAMES - pending ? this.ring.claim() : -1;
  }

  /** The record is complete. */
  commit(sender: number): void {
    this.#owners[(this.#oldest + this.#count) % FRAMES] = sender;
    this.#count++;
    this.#held[sender]!++;
    this.ring.commit();
  }
}
