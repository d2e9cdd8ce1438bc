import type { IpAddress } from '../../ip/address.js';
import type { NetworkInfo } from '../../protocol/messages.js';
import { TWIN_ADVICE } from '../../protocol/text.js';
import type { HubStatus } from '../control/control.js';
import type { HubEvent } from './hub/hub-events.js';

/** The longest wait of a twin between two attempts, and a little more; milliseconds. */
const TWIN_SHOWN = 330_000;
const REFUSALS: ReadonlySet<string> = new Set(['refused', 'other-network']);

/** The state of the connection to the hub, for people: its address, and warnings. */
export class HubView {
  readonly #pinned: NetworkInfo;
  #status: HubStatus;
  #address: IpAddress | undefined;
  #warning: string | undefined;
  /** The last message that `disconnected` returned. */
  #said: string | undefined;
  #twin: { readonly address: string; readonly at: number } | undefined;

  /** @param pinned the network at the time of joining */
  constructor(pinned: NetworkInfo, now: number) {
    this.#pinned = pinned;
    this.#status = { state: 'connecting', since: now };
  }

  /** `since` is in milliseconds of the machine's clock. */
  get status(): HubStatus {
    return this.#status;
  }

  /** The address at which this process reached the hub last. */
  get address(): IpAddress | undefined {
    return this.#address;
  }

  /** Another machine tried to connect with this node's key. @param address where it was */
  twin(address: string, now: number): void {
    this.#twin = { address, at: now };
  }

  warnings(now: number): string[] {
    const twin = this.#twin !== undefined && now - this.#twin.at < TWIN_SHOWN ? this.#twin : undefined;
    return [
      ...(this.#warning === undefined ? [] : [this.#warning]),
      ...(twin === undefined
        ? []
        : [`Another machine, at ${twin.address}, tries to connect with this node's key: ${TWIN_ADVICE}`]),
    ];
  }

  connected(
    event: Pick<Extract<HubEvent, { kind: 'connected' }>, 'where' | 'remote' | 'network'>,
    now: number,
  ): void {
    const { where, remote, network } = event;
    this.#set({ state: 'connected', address: where }, now);
    this.#address = remote.address;
    const pinned = this.#pinned;
    const isSame = network.id === pinned.id && network.ipv4 === pinned.ipv4 && network.ipv6 === pinned.ipv6;
    this.#warning = isSame
      ? undefined
      : `The hub changed the network's ranges to ${network.ipv4} and ${network.ipv6}: ignored, this machine joined with ${pinned.ipv4} and ${pinned.ipv6}`;
  }

  /** @returns the reason, if someone must act on it and it is not the last one returned */
  disconnected(
    event: Pick<Extract<HubEvent, { kind: 'disconnected' }>, 'failure' | 'retryIn'>,
    now: number,
  ): string | undefined {
    const { failure, retryIn } = event;
    const { kind, refusal, message } = failure;
    const isRefused = retryIn === undefined || REFUSALS.has(kind);
    this.#set({ state: isRefused ? 'refused' : 'away', why: message }, now);
    const isGrave = kind === 'other-network' || refusal === 'twin' || refusal === 'not-a-member';
    const said = this.#said;
    this.#said = isGrave ? message : undefined;
    return this.#said === said ? undefined : this.#said;
  }

  #set(status: Omit<HubStatus, 'since'>, now: number): void {
    const since = status.state === this.#status.state ? this.#status.since : now;
    const address = status.address ?? this.#status.address;
    this.#status = { ...status, ...(address === undefined ? {} : { address }), since };
  }
}
