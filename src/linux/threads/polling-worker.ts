import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { startWorker, type WorkerProgram } from '../../self.js';
import { type Watch, watchReadable } from '../net/watch.js';
import { Waker } from './poll.js';
import { SharedRing } from './shared-ring.js';

/** Data for every worker that blocks in poll(2). */
export interface PollingWorkerData {
  /** Eventfds: one wakes the worker, the other wakes the main thread. */
  readonly wakeWorker: number;
  readonly wakeMain: number;
  /** A `SharedRing`. Each record begins with the command u32 and its subject u32. */
  readonly commands: SharedArrayBuffer;
  /** One word, which becomes 1 when the worker reads no more commands. */
  readonly ended: SharedArrayBuffer;
  /** The words `PULSE`. */
  readonly pulse: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** How often the main thread has asked whether the worker works, and which of these questions it has answered. */
const PULSE = { asked: 0, answered: 1 } as const;

/** Answers the main thread's question whether the worker works. A worker calls it whenever it is woken. */
export function answerPulse(pulse: Int32Array): void {
  Atomics.store(pulse, PULSE.answered, Atomics.load(pulse, PULSE.asked));
}

const workers = new Set<{ responds(): boolean }>();

/**
 * Whether every worker of this process that blocks in poll(2) has answered since the last call, which asks again. A worker
 * that has ended is not asked: its owner learns of that.
 */
export const workersRespond = (): boolean =>
  [...workers].map((worker) => worker.responds()).every((responds) => responds);

/** Runs a worker to its end, and lets the main thread know. */
export function runWorker({ ended, port }: PollingWorkerData, run: () => void): void {
  try {
    run();
  } finally {
    Atomics.store(new Int32Array(ended), 0, 1);
    port.close();
  }
}

/** The subject of a command without one. */
export const NOBODY = 0xffff_ffff;

export interface PollingWorkerOptions<Data extends PollingWorkerData> {
  /** Tests name a file of their own. */
  readonly program: WorkerProgram | URL;
  readonly data: Omit<Data, keyof PollingWorkerData>;
  /** The ring of commands: bytes per record, number of records. */
  readonly recordSize: number;
  readonly records: number;
  /** The command that ends the worker. */
  readonly stop: number;
  /** Called when the worker has woken the main thread. */
  readonly onWake: () => void;
}

/** The main thread's side of a worker that blocks in poll(2): wakes it, sends it commands, and ends it. */
export class PollingWorker<Data extends PollingWorkerData> {
  readonly worker: Worker;
  readonly port: MessagePort;
  /** The ring that commands are written to. */
  readonly commands: SharedRing;
  readonly #stopCommand: number;
  readonly #toWorker = new Waker();
  readonly #fromWorker = new Waker();
  readonly #ended = new Int32Array(new SharedArrayBuffer(4));
  readonly #pulse = new Int32Array(new SharedArrayBuffer(8));
  readonly #watch: Watch;
  readonly #exited: Promise<void>;
  #isWaking = false;

  constructor({ program, data, recordSize, records, stop, onWake }: PollingWorkerOptions<Data>) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.commands = new SharedRing(recordSize, records);
    this.#stopCommand = stop;
    const common: PollingWorkerData = {
      wakeWorker: this.#toWorker.fd,
      wakeMain: this.#fromWorker.fd,
      commands: this.commands.buffer,
      ended: this.#ended.buffer,
      pulse: this.#pulse.buffer,
      port: port2,
    };
    this.worker = startWorker(program, { workerData: { ...data, ...common }, transferList: [port2] });
    this.#exited = new Promise((resolve) =>
      this.worker.once('exit', () => {
        Atomics.store(this.#ended, 0, 1); // the worker has not, if it could not start
        resolve();
      }),
    );
    this.#watch = watchReadable(this.#fromWorker.fd, () => {
      this.#fromWorker.clear();
      onWake();
    });
    process.once('exit', this.#stop);
    workers.add(this);
  }

  /**
   * Sends a command, unless the worker has ended. The worker is woken once for all commands of this turn of the event
   * loop, and reads them before anything else that wakes it meanwhile.
   *
   * @param write fills in the rest of the record at `at`
   */
  command(command: number, subject: number, write?: (at: number) => void): void {
    let at = this.commands.claim();
    if (at < 0) {
      this.wake();
      at = this.commands.claimPatiently(this.#ended);
      if (at < 0) return;
    }
    this.commands.view.setUint32(at, command, true);
    this.commands.view.setUint32(at + 4, subject, true);
    write?.(at);
    this.commands.commit();
    if (this.#isWaking) return;
    this.#isWaking = true;
    queueMicrotask(this.#wakeNow);
  }

  /** Whether the worker has answered the last question, or has ended. If so, asks the next. */
  responds(): boolean {
    if (Atomics.load(this.#ended, 0) !== 0) return true;
    const asked = Atomics.load(this.#pulse, PULSE.asked);
    if (Atomics.load(this.#pulse, PULSE.answered) !== asked) return false;
    Atomics.store(this.#pulse, PULSE.asked, asked + 1);
    this.wake();
    return true;
  }

  /** Wakes the worker, unless it has ended: there is something for it in shared memory. */
  wake(): void {
    if (Atomics.load(this.#ended, 0) === 0) this.#toWorker.wake();
  }

  readonly #wakeNow = (): void => {
    this.#isWaking = false;
    this.wake();
  };

  /** Calls `onWake` again after other events had their turn, because it has not finished. */
  wakeAgain(): void {
    this.#fromWorker.wake();
  }

  /** Ends the worker. Resolves when its descriptors are closed. Call it once. */
  async close(): Promise<void> {
    workers.delete(this);
    this.#watch.close();
    this.#stop();
    await this.#exited;
    process.off('exit', this.#stop);
    this.port.close();
    this.#toWorker.close();
    this.#fromWorker.close();
  }

  /** Also called when the process ends, which a worker in poll(2) would prevent; no microtask runs any more then. */
  readonly #stop = (): void => {
    this.command(this.#stopCommand, NOBODY);
    this.wake();
  };
}
