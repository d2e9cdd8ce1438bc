import { timingSafeEqual } from 'node:crypto';
import { workerData } from 'node:worker_threads';
import { blake2s } from '../../crypto/blake2s.js';
import { canSendSegments, receiveSegments } from '../../linux/net/udp.js';
import { bootTime, threadTime } from '../../linux/process/clock.js';
import { Poller, Waker } from '../../linux/threads/poll.js';
import { answerPulse, type PollingWorkerData, runWorker } from '../../linux/threads/polling-worker.js';
import { SharedRing } from '../../linux/threads/shared-ring.js';
import { Binds } from './binds.js';
import { AT, Counters } from './counters.js';
import { RateLimit } from './fair-share.js';
import { Forwarder } from './forwarder.js';
import { KEY_LENGTH, RelayMembers } from './members.js';
import { COMMAND, COMMAND_RECORD, COMMANDS, FairRing } from './records.js';
import { THINNING_INTERVAL } from './thinning.js';

/** What the relay passes to its worker. */
export interface RelayWorkerData extends PollingWorkerData {
  readonly fd: number;
  /** Bits per second. */
  readonly memberRate: number;
  /** Whether runs may be cut up, and bundles put together, by the kernel, where it can. */
  readonly offloads: boolean;
  readonly up: SharedArrayBuffer;
  readonly down: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** One i32 for each member there can be: 1 while it is bound. */
  readonly flags: SharedArrayBuffer;
  /** 36 random bytes. */
  readonly secret: Uint8Array;
}

const UDP = 0;
const WAKE = 1;

/** How often expired bindings are checked, ms. */
const EXPIRE_INTERVAL = 1000;
const TELL_INTERVAL = 100;

const crypto = {
  mac: (key: Uint8Array, input: Uint8Array, out: Uint8Array): void => blake2s([input], out, 16, key),
  equal: timingSafeEqual,
};

/** The relay's thread. It blocks in poll(2), forwards frames and executes commands. */
class RelayWorker {
  readonly #data: RelayWorkerData;
  readonly #commands: SharedRing;
  readonly #down: FairRing;
  readonly #counters: Counters;
  readonly #members: RelayMembers;
  readonly #limit: RateLimit;
  readonly #forwarder: Forwarder;
  readonly #waker: Waker;
  readonly #pulse: Int32Array;
  readonly #main: Waker;
  readonly #poller: Poller;
  #expiredAt = 0;
  #toldAt = 0;
  #stopping = false;

  constructor(data: RelayWorkerData) {
    this.#data = data;
    this.#commands = new SharedRing(COMMAND_RECORD.size, COMMANDS, data.commands);
    this.#counters = new Counters(data.counters);
    const flags = new Int32Array(data.flags);
    const seed = new DataView(data.secret.buffer, data.secret.byteOffset).getInt32(32);
    this.#members = new RelayMembers(flags, seed);
    this.#limit = new RateLimit(flags.length, data.memberRate);
    this.#down = new FairRing(0, data.down);
    this.#waker = new Waker(data.wakeWorker);
    this.#pulse = new Int32Array(data.pulse);
    this.#main = new Waker(data.wakeMain);
    this.#poller = new Poller([data.fd, data.wakeWorker]);
    if (data.offloads) receiveSegments(data.fd);
    this.#forwarder = new Forwarder({
      fd: data.fd,
      sendsRuns: data.offloads && canSendSegments(data.fd),
      members: this.#members,
      binds: new Binds(crypto, this.#members, this.#counters, data.secret.subarray(0, 32)),
      counters: this.#counters,
      limit: this.#limit,
      up: new FairRing(flags.length, data.up),
      down: this.#down,
    });
  }

  run(): void {
    let more = false;
    while (!this.#stopping) {
      this.#poller.wait(more || this.#down.ring.pending > 0 ? 0 : this.#idle());
      const now = bootTime();
      if (this.#poller.events(WAKE) !== 0) {
        this.#waker.clear();
        answerPulse(this.#pulse);
      }
      this.#execute();
      if (this.#down.ring.pending > 0) this.#forwarder.fromChannels();
      if (more || this.#poller.events(UDP) !== 0) more = this.#forwarder.fromUdp(now);
      else if (this.#forwarder.thinning) this.#forwarder.thin(now, 0);
      if (this.#forwarder.takeWake()) this.#main.wake();
      this.#tell(now);
    }
  }

  /** How long poll(2) may block, ms: forever, or until the next check of bindings. */
  #idle(): number {
    if (this.#forwarder.thinning) return THINNING_INTERVAL;
    return this.#members.bound > 0 || this.#counters.values[AT.bound] !== 0 ? EXPIRE_INTERVAL : -1;
  }

  #execute(): void {
    const ring = this.#commands;
    const { view, bytes } = ring;
    for (let at = ring.peek(); at >= 0; at = ring.peek()) {
      const command = view.getUint32(at + COMMAND_RECORD.command, true);
      const row = view.getUint32(at + COMMAND_RECORD.row, true);
      if (command !== COMMAND.stop) this.#forwarder.forget(row);
      if (command === COMMAND.stop) this.#stopping = true;
      else if (command === COMMAND.detach) this.#members.remove(row);
      else {
        const key = at + COMMAND_RECORD.key;
        const id = view.getUint32(at + COMMAND_RECORD.id, true);
        const tag = view.getInt32(at + COMMAND_RECORD.tag, true);
        this.#members.add(row, id, tag, bytes.subarray(key, key + KEY_LENGTH));
        this.#limit.reset(row);
      }
      bytes.fill(0, at, at + COMMAND_RECORD.size); // erases the key
      ring.release();
    }
  }

  #tell(now: number): void {
    if (now - this.#expiredAt >= EXPIRE_INTERVAL) {
      this.#expiredAt = now;
      this.#members.expire(now);
    }
    this.#counters.values[AT.bound] = this.#members.bound;
    if (now - this.#toldAt < TELL_INTERVAL) return;
    this.#toldAt = now;
    this.#counters.values[AT.cpu] = threadTime();
    this.#counters.values[AT.overflow] = this.#forwarder.lost();
  }

  /** Leaves no keys behind. */
  forget(): void {
    for (let row = 0; row < this.#members.ids.length; row++) this.#members.remove(row);
    this.#data.secret.fill(0);
  }
}

const data = workerData as RelayWorkerData;
runWorker(data, () => {
  const worker = new RelayWorker(data);
  data.port.postMessage('ready');
  worker.run();
  worker.forget();
});
