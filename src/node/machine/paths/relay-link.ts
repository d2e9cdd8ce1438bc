import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';
import type { RelayCredentials } from '../../../protocol/messages.js';
import { decodeBase64 } from '../../../protocol/text.js';
import type { Crypto } from '../../../wireguard/crypto.js';
import { EventQueue } from '../../../wireguard/event-queue.js';
import type { RelayStatus } from '../../control/control.js';
import { endpointKey } from './candidates.js';
import { RelayBinding } from './relay-binding.js';

/** Where relayed data goes: to the relay by UDP, through the hub's channel, or nowhere. */
export type RelayRoute = Endpoint | 'channel' | undefined;

export type RelayLinkEvent =
  /** To the relay, from the interface's socket. */
  | { readonly kind: 'datagram'; readonly bytes: Uint8Array; readonly to: Endpoint }
  /**
   * Relayed data goes to `route` from now on; `status` tells why. It may arrive from `address`, the relay's UDP endpoint,
   * whatever the route is: the relay knows before this node that UDP passes.
   */
  | { readonly kind: 'relay'; readonly route: RelayRoute; readonly address: Endpoint | undefined }
  /**
   * This node's endpoint as the relay sees it, if UDP passes.
   * `isKnown`: false while the relay has not answered
   */
  | { readonly kind: 'seen'; readonly seen: Endpoint | undefined; readonly isKnown: boolean }
  /** UDP stopped passing. The hub sends through the channel again only after new credentials. */
  | { readonly kind: 'lost' };

/** How long the route stays the same without the hub, milliseconds: most often it is back at once. */
const GRACE = 3_000;

/**
 * A node's route to the relay: by UDP if that passes, else through the hub's channel. So packets flow as soon as the
 * channel is open. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back.
 */
export class RelayLink {
  readonly #crypto: Pick<Crypto, 'mac' | 'equal'>;
  readonly #frameLength: number;
  readonly #events = new EventQueue<RelayLinkEvent>();
  #binding: RelayBinding | undefined;
  /** The relay's UDP endpoint. */
  #remote: Endpoint | undefined;
  #status: RelayStatus;
  /** The `address` of the last event `relay`. */
  #told: Endpoint | undefined;
  /** Why UDP is no longer used. */
  #lost: string | undefined;
  /** When to stop using the relay, and why. */
  #grace: { readonly until: number; readonly why: string } | undefined;

  /** @param frameLength of the longest frame of data, bytes: what UDP must carry */
  constructor(crypto: Pick<Crypto, 'mac' | 'equal'>, frameLength: number, now: number) {
    this.#crypto = crypto;
    this.#frameLength = frameLength;
    this.#status = { via: 'none', why: 'the hub has not been reached yet', since: now };
  }

  /** `since` is in milliseconds of the machine's clock. */
  get status(): RelayStatus {
    return this.#status;
  }

  poll(): RelayLinkEvent | undefined {
    return this.#events.poll();
  }

  nextTimeout(): number {
    return Math.min(this.#binding?.nextTimeout() ?? Infinity, this.#grace?.until ?? Infinity);
  }

  handleTimeout(now: number): void {
    if (this.#grace !== undefined && now >= this.#grace.until) this.#giveUp(this.#grace.why, now);
    this.#drive(now);
  }

  /**
   * The channel is open, or there are new credentials.
   *
   * @param remote the hub's address at the other end of the channel
   */
  attached(remote: Endpoint, { port, session, key }: RelayCredentials, now: number): void {
    this.#grace = undefined;
    this.#remote = { ...remote, port };
    const secrets = { session: decodeBase64(session), key: decodeBase64(key) };
    this.#binding = new RelayBinding(this.#crypto, secrets, this.#frameLength, now);
    // The hub knows no endpoint for these credentials yet: it sends through the channel.
    this.#use('websocket', this.#lost ?? 'UDP is being tried', now);
    this.#drive(now);
  }

  /** The channel is closed. */
  detached(why: string, now: number): void {
    if (this.#grace !== undefined) return;
    if (this.#status.via === 'none') this.#giveUp(why, now);
    else this.#grace = { until: now + GRACE, why };
  }

  /** A control message arrived on the interface's socket. */
  handleControl(bytes: Uint8Array, from: Endpoint, now: number): void {
    if (this.#remote === undefined || endpointKey(from) !== endpointKey(this.#remote)) return;
    this.#binding?.handleControl(bytes, now);
    this.#drive(now);
  }

  /** Packets go through the relay. @param isSilent whether nothing comes back */
  handleActivity(isSilent: boolean, now: number): void {
    if (isSilent) this.#binding?.handleSilence(now);
    else this.#binding?.handleActivity(now);
  }

  /** This machine's network has changed. */
  rebind(now: number): void {
    this.#binding?.rebind(now);
    this.#drive(now);
  }

  #giveUp(why: string, now: number): void {
    this.#grace = undefined;
    this.#binding = undefined;
    this.#use('none', why, now);
    this.#events.push({ kind: 'seen', seen: undefined, isKnown: false });
  }

  #drive(now: number): void {
    const binding = this.#binding;
    if (binding === undefined) return;
    binding.handleTimeout(now);
    const remote = this.#remote!;
    const where = formatEndpoint(remote);
    const seen = (at: Endpoint | undefined, isKnown = true): void =>
      this.#events.push({ kind: 'seen', seen: at, isKnown });
    for (let event = binding.poll(); event; event = binding.poll()) {
      switch (event.kind) {
        case 'send':
          this.#events.push({ kind: 'datagram', bytes: event.bytes, to: remote });
          break;
        case 'bound':
          this.#lost = undefined;
          this.#use('udp', `UDP passes to ${where}`, now);
          seen(event.seen);
          break;
        case 'unanswered':
          this.#use('websocket', `no answer by UDP from ${where}: it may be blocked on the way`, now);
          seen(undefined);
          break;
        case 'narrow':
          this.#use('websocket', `UDP passes to ${where}, but packets of full size do not`, now);
          seen(event.seen);
          break;
        case 'lost':
          this.#lost = `UDP to ${where} stopped passing`;
          this.#use('websocket', this.#lost, now);
          seen(undefined, false);
          this.#events.push({ kind: 'lost' });
          break;
      }
    }
  }

  #use(via: RelayStatus['via'], why: string, now: number): void {
    const before = this.#status.via;
    this.#status = { via, why, since: via === before ? this.#status.since : now };
    const address = this.#remote;
    if (via === before && address === this.#told) return;
    this.#told = address;
    const route = { udp: address, websocket: 'channel' as const, none: undefined }[via];
    this.#events.push({ kind: 'relay', route, address });
  }
}
