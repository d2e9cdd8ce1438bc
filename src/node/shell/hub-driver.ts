import { LametunError } from '../../errors.js';
import { bootTime } from '../../linux/process/clock.js';
import type { Answers, NetworkInfo } from '../../protocol/messages.js';
import { HubClient, type HubClientOptions } from '../machine/hub/hub-client.js';
import type { HubEvent } from '../machine/hub/hub-events.js';
import type { HubFailure } from '../machine/hub/hub-failure.js';
import type { HubRequest } from '../machine/hub/hub-session.js';
import { HubSockets } from './hub-sockets.js';
import { Timer } from './timer.js';

/** Runs a hub client on its own: to join, until a node machine takes over, and to leave. */
export class HubDriver {
  readonly client: HubClient;
  readonly sockets: HubSockets;
  readonly #timer = new Timer(() => {
    this.client.handleTimeout(bootTime());
    this.settle();
  });
  /** Events that nobody has handled yet. */
  readonly #early: HubEvent[] = [];
  /** Called with each event. The datagram of a frame is valid until it returns. */
  onEvent: (event: HubEvent) => void = (event) => {
    if (event.kind !== 'frame') this.#early.push(event);
  };
  #isOver = false;

  constructor(options: HubClientOptions) {
    this.client = new HubClient(options);
    this.sockets = new HubSockets(this.client, () => this.settle());
  }

  start(): void {
    this.client.start(bootTime());
    this.settle();
  }

  /** Carries out the client's commands. */
  settle(): void {
    if (this.#isOver) return;
    for (let output = this.client.poll(); output; output = this.client.poll()) {
      switch (output.kind) {
        case 'resolve':
        case 'dial':
        case 'send':
        case 'ping':
        case 'close':
        case 'abort':
          this.sockets.perform(output);
          break;
        case 'answered':
          output.deliver();
          break;
        default:
          this.onEvent(output);
      }
      if (this.#isOver) return;
    }
    this.#timer.set(this.client.nextTimeout(), bootTime());
  }

  /** Asks the hub. @throws HubFailure when the hub refuses or is unreachable */
  request<R extends HubRequest>(request: R): Promise<Answers[R['type']]> {
    return new Promise((resolve, reject) => {
      this.client.request(request, bootTime(), resolve, reject);
      this.settle();
    });
  }

  /**
   * Resolves when this machine is a member. Call it before `start`.
   *
   * @param check throws if this machine cannot be in the network
   * @throws LametunError when it cannot join
   */
  join(
    check: (network: NetworkInfo) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<Extract<HubEvent, { kind: 'joined' }>> {
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(new LametunError('unreachable', 'stopped before the hub answered'));
      signal?.addEventListener('abort', stop, { once: true });
      if (signal?.aborted) stop();
      this.onEvent = (event) => {
        if (event.kind === 'invitation') void this.#checkInvitation(event.network, check);
        else if (event.kind === 'joined') {
          this.#pause(); // the node machine that takes over handles the rest
          resolve(event);
        } else if (event.kind === 'disconnected' && event.retryIn === undefined)
          reject(explained(event.failure));
      };
    });
  }

  /** Stops driving the client. @returns the client, with the events that nobody has handled yet */
  handOver(): Pick<HubDriver, 'client' | 'sockets'> & { readonly early: readonly HubEvent[] } {
    this.#pause();
    return { client: this.client, sockets: this.sockets, early: this.#early };
  }

  close(): void {
    this.client.close();
    this.#isOver = false;
    this.onEvent = () => {};
    this.settle();
    this.#pause();
  }

  #pause(): void {
    this.#isOver = true;
    this.#timer.clear();
  }

  async #checkInvitation(
    network: NetworkInfo,
    check: (network: NetworkInfo) => Promise<void>,
  ): Promise<void> {
    try {
      await check(network);
      this.client.proceed(bootTime());
    } catch (error) {
      this.client.refuse(error as Error, bootTime());
    }
    this.settle();
  }
}

/** The failure alone lists addresses, which mean nothing to a user who pasted a token. */
function explained(failure: HubFailure): Error {
  if (failure.kind !== 'unreachable') return failure;
  return new LametunError('unreachable', `cannot reach the hub: ${failure.message}`, { cause: failure });
}
