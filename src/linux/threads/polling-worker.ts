import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { type Watch, watchReadable } from '../net/watch.js';
import { Waker } from './poll.js';
import { SharedRing } from './shared-ring.js';

/** What a worker that blocks in poll(2) is given, besides what is its own. */
export interface PollingWorkerData {
  /** Eventfds: one that wakes the worker, one by which it wakes the main thread. */
  readonly wakeWorker: number;
  readonly wakeMain: number;
  /** A `SharedRing`. Each record begins with the command u32 and whom it is about u32. */
  readonly commands: SharedArrayBuffer;
  /** One word, that becomes 1 when the worker reads no more commands. */
  readonly ended: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** A command that is about nobody. */
export const NOBODY = 0xffff_ffff;

export interface PollingWorkerOptions<Data extends PollingWorkerData> {
  readonly script: URL;
  readonly data: Omit<Data, keyof PollingWorkerData>;
  /** Of the ring of commands: bytes, and how many. */
  readonly recordSize: number;
  readonly records: number;
  /** The command by which the worker ends. */
  readonly stop: number;
  /** It has woken the main thread. */
  readonly onWake: () => void;
}

/** The main thread's side of a worker that blocks in poll(2): wakes it, commands it, is woken by it, and ends it. */
export class PollingWorker<Data extends PollingWorkerData> {
  readonly worker: Worker;
  readonly port: MessagePort;
  /** Where the record of a command is written. */
  readonly commands: SharedRing;
  readonly #stopCommand: number;
  readonly #toWorker = new Waker();
  readonly #fromWorker = new Waker();
  readonly #ended = new Int32Array(new SharedArrayBuffer(4));
  readonly #watch: Watch;
  readonly #exited: Promise<void>;

  constructor({ script, data, recordSize, records, stop, onWake }: PollingWorkerOptions<Data>) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.commands = new SharedRing(recordSize, records);
    this.#stopCommand = stop;
    const common: PollingWorkerData = {
      wakeWorker: this.#toWorker.fd,
      wakeMain: this.#fromWorker.fd,
      commands: this.commands.buffer,
      ended: this.#ended.buffer,
      port: port2,
    };
    this.worker = new Worker(script, { workerData: { ...data, ...common }, transferList: [port2] });
    this.#exited = new Promise((resolve) => this.worker.once('exit', () => resolve()));
    this.#watch = watchReadable(this.#fromWorker.fd, () => {
      this.#fromWorker.clear();
      onWake();
    });
    process.once('exit', this.#stop);
  }

  /** Does nothing when the worker has ended. @param write adds what else belongs into the record at `at` */
  command(command: number, subject: number, write?: (at: number) => void): void {
    const at = this.commands.claimPatiently(this.#ended);
    if (at < 0) return;
    this.commands.view.setUint32(at, command, true);
    this.commands.view.setUint32(at + 4, subject, true);
    write?.(at);
    this.commands.commit();
    this.wake();
  }

  /** There is something for it in shared memory. */
  wake(): void {
    this.#toWorker.wake();
  }

  /** `onWake` has not seen to everything, and is to be called again when others had their turn. */
  wakeAgain(): void {
    this.#fromWorker.wake();
  }

  /** Resolves when it has ended, and its descriptors are closed. Once. */
  async close(): Promise<void> {
    this.#watch.close();
    this.#stop();
    await this.#exited;
    process.off('exit', this.#stop);
    this.port.close();
    this.#toWorker.close();
    this.#fromWorker.close();
  }

  /** Also when the process ends: a worker in poll(2) would keep it from that. */
  readonly #stop = (): void => this.command(this.#stopCommand, NOBODY);
}
