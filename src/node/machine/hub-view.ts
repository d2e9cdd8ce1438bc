import type { IpAddress } from '../../ip/address.js';
import { bootTime } from '../../linux/process/clock.js';
import { type NetworkInfo, TWIN_ADVICE } from '../../protocol/messages.js';
import { wallTimeOf } from '../../wall-clock.js';
import type { HubStatus } from '../control/control.js';
import type { HubEvent } from './hub/hub-client.js';

/** As long as a machine that was refused for having the same key may wait before it comes again, and a bit; milliseconds. */
const TWIN_SHOWN = 330_000;
const REFUSALS: ReadonlySet<string> = new Set(['refused', 'other-network']);

/** How the hub looks from here: whether it is there, where it was reached last, and what is odd about it. */
export class HubView {
  readonly #pinned: NetworkInfo;
  /** `since` by `bootTime`. */
  #status: HubStatus = { state: 'connecting', since: bootTime() };
  #address: IpAddress | undefined;
  #warning: string | undefined;
  #twin: { readonly address: string; readonly at: number } | undefined;

  /** @param pinned the network as it was when this node joined */
  constructor(pinned: NetworkInfo) {
    this.#pinned = pinned;
  }

  get status(): HubStatus {
    return { ...this.#status, since: wallTimeOf(this.#status.since) };
  }

  /** Where it was reached last by this process. */
  get address(): IpAddress | undefined {
    return this.#address;
  }

  /** Another machine, at this address, tries to connect with this node's key. */
  twin(address: string): void {
    this.#twin = { address, at: performance.now() };
  }

  warnings(): string[] {
    const twin =
      this.#twin !== undefined && performance.now() - this.#twin.at < TWIN_SHOWN ? this.#twin : undefined;
    return [
      ...(this.#warning === undefined ? [] : [this.#warning]),
      ...(twin === undefined
        ? []
        : [`Another machine, ${twin.address}, tries to connect with this node's key: ${TWIN_ADVICE}`]),
    ];
  }

  connected({
    where,
    remote,
    network,
  }: Pick<Extract<HubEvent, { kind: 'connected' }>, 'where' | 'remote' | 'network'>): void {
    this.#set({ state: 'connected', address: where });
    this.#address = remote.address;
    const pinned = this.#pinned;
    const isSame = network.id === pinned.id && network.ipv4 === pinned.ipv4 && network.ipv6 === pinned.ipv6;
    this.#warning = isSame
      ? undefined
      : `The hub says that the network has the ranges ${network.ipv4} and ${network.ipv6} now: ignored, it had ${pinned.ipv4} and ${pinned.ipv6} when this machine joined`;
  }

  disconnected({
    failure,
    retryIn,
  }: Pick<Extract<HubEvent, { kind: 'disconnected' }>, 'failure' | 'retryIn'>): void {
    const isRefused = retryIn === undefined || REFUSALS.has(failure.kind);
    this.#set({ state: isRefused ? 'refused' : 'away', why: failure.message });
  }

  #set(status: Omit<HubStatus, 'since'>): void {
    const since = status.state === this.#status.state ? this.#status.since : bootTime();
    const address = status.address ?? this.#status.address;
    this.#status = { ...status, ...(address === undefined ? {} : { address }), since };
  }
}
