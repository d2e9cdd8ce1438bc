import type { IpAddress } from '../../ip/address.js';
import type { NetworkInfo } from '../../protocol/messages.js';
import { TWIN_ADVICE } from '../../protocol/text.js';
import type { HubStatus } from '../control/control.js';
import type { HubEvent } from './hub/hub-events.js';

/** As long as a machine that was refused for having the same key may wait before it comes again, and a bit; milliseconds. */
const TWIN_SHOWN = 330_000;
const REFUSALS: ReadonlySet<string> = new Set(['refused', 'other-network']);

/** How the hub looks from here: whether it is there, where it was reached last, and what is odd about it. */
export class HubView {
  readonly #pinned: NetworkInfo;
  #status: HubStatus;
  #address: IpAddress | undefined;
  #warning: string | undefined;
  #said: string | undefined;
  #twin: { readonly address: string; readonly at: number } | undefined;

  /** @param pinned the network as it was when this node joined */
  constructor(pinned: NetworkInfo, now: number) {
    this.#pinned = pinned;
    this.#status = { state: 'connecting', since: now };
  }

  /** `since` is of the machine's clock. */
  get status(): HubStatus {
    return this.#status;
  }

  /** Where it was reached last by this process. */
  get address(): IpAddress | undefined {
    return this.#address;
  }

  /** Another machine, at this address, tries to connect with this node's key. */
  twin(address: string, now: number): void {
    this.#twin = { address, at: now };
  }

  warnings(now: number): string[] {
    const twin = this.#twin !== undefined && now - this.#twin.at < TWIN_SHOWN ? this.#twin : undefined;
    return [
      ...(this.#warning === undefined ? [] : [this.#warning]),
      ...(twin === undefined
        ? []
        : [`Another machine, ${twin.address}, tries to connect with this node's key: ${TWIN_ADVICE}`]),
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
      : `The hub says that the network has the ranges ${network.ipv4} and ${network.ipv6} now: ignored, it had ${pinned.ipv4} and ${pinned.ipv6} when this machine joined`;
  }

  /** @returns what keeps this node from its network until somebody does something; undefined: that was said already */
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
