import type { Log } from '../log.js';
import type { Engine, SocketEndpoint } from '../tunnel/engine.js';
import type { MachineEvent } from '../wireguard/events.js';
import type { WireGuardMachine } from '../wireguard/machine.js';
import { NO_INDEX } from '../wireguard/numbers.js';
import type { Peer } from '../wireguard/peer.js';
import { eventText } from './event-text.js';
import { peerName } from './peer-name.js';
import type { Sources } from './sources.js';

/** How many due peers are handled before other events, such as requests of `wg`, get their turn. */
const PEERS_PER_TURN = 32;

/** The longest timer, milliseconds: timers stop while the computer sleeps. */
const LONGEST_SLEEP = 5_000;

/** How many peers are prepared for their first handshakes before other events get their turn: half a millisecond. */
const PREPARED_PER_TURN = 16;

/** Executes the protocol machine's events on the data plane, and runs its timer. */
export class ProtocolDriver {
  readonly #machine: WireGuardMachine;
  readonly #engine: Engine;
  readonly #log: Log;
  readonly #sources: Sources;
  #timer: NodeJS.Timeout | undefined;
  #timerFor = Infinity;
  #preparing: NodeJS.Immediate | undefined;
  #isStopped = false;
  #isDetached = false;

  constructor(machine: WireGuardMachine, engine: Engine, sources: Sources, log: Log) {
    this.#machine = machine;
    this.#engine = engine;
    this.#sources = sources;
    this.#log = log;
  }

  /** Whether the data plane gets no more commands. */
  get isDetached(): boolean {
    return this.#isDetached;
  }

  /** Call it after every call of the protocol machine. */
  settle(): void {
    for (let event = this.#machine.poll(); event; event = this.#machine.poll()) this.#act(event);
    const next = this.#machine.nextTimeout();
    if (next >= this.#timerFor || this.#isStopped) return; // the timer is early enough, and sets the next
    clearTimeout(this.#timer);
    this.#timerFor = next;
    const delay = Math.ceil(next - this.#engine.now());
    this.#timer = setTimeout(this.#expire, Math.min(Math.max(delay, 0), LONGEST_SLEEP));
  }

  /**
   * The same after `handleRoaming`. The data plane has that endpoint already, or a newer one, so it must not be set.
   */
  settleRoaming(): void {
    for (let event = this.#machine.poll(); event; event = this.#machine.poll()) {
      if (event.kind !== 'endpoint') this.#act(event);
    }
  }

  /** Prepares peers for their first handshakes when there is nothing else to do. */
  prepareSoon(): void {
    this.#preparing ??= setImmediate(this.#prepare);
  }

  /** Sends the data plane no more commands. */
  detach(): void {
    this.#isDetached = true;
  }

  /** Stops the timer. `settle` still executes events. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** A few peers at a time, so that other events get their turn. */
  readonly #prepare = (): void => {
    const isMore = !this.#isStopped && this.#machine.prepare(PREPARED_PER_TURN);
    this.#preparing = isMore ? setImmediate(this.#prepare) : undefined;
  };

  readonly #expire = (): void => {
    this.#timerFor = Infinity;
    this.#machine.handleTimeout(this.#engine.now(), PEERS_PER_TURN);
    this.settle();
  };

  #act(event: MachineEvent<Peer>): void {
    if (this.#isDetached) return;
    if (this.#log.isVerbose) this.#tell(event);
    const engine = this.#engine;
    switch (event.kind) {
      case 'datagram':
        engine.sendDatagram(event.bytes, this.#placeFor(event));
        break;
      case 'install-keypair':
        engine.installKeypair(event.peer.id, event.keypair, event.sendingKey, event.receivingKey);
        break;
      case 'use-keypair':
        engine.useKeypair(event.peer.id, event.keypair?.localIndex ?? NO_INDEX, event.confirm);
        break;
      case 'drop-keypair':
        engine.dropKeypair(event.peer.id, event.localIndex);
        break;
      case 'keepalive':
        engine.keepalive(event.peer.id);
        break;
      case 'discard-queue':
        engine.discardQueue(event.peer.id);
        break;
      case 'endpoint':
        this.#setEndpoint(event.peer, event.endpoint as SocketEndpoint); // the engine made all of them
        break;
      case 'forget-source':
        engine.forgetSource(event.peer.id);
        break;
    }
  }

  /** Strangers are answered from the address that they wrote to, regardless of routes. */
  #placeFor({ to, peer }: MachineEvent<Peer> & { kind: 'datagram' }): SocketEndpoint {
    return peer ? this.#sources.judged(to as SocketEndpoint) : (to as SocketEndpoint);
  }

  #setEndpoint(peer: Peer, endpoint: SocketEndpoint): void {
    const judged = this.#sources.judged(endpoint);
    if (peer.endpoint === endpoint) peer.endpoint = judged;
    this.#engine.setEndpoint(peer.id, judged);
  }

  #tell(event: MachineEvent<Peer>): void {
    const text = eventText(event);
    if (text === undefined) return;
    this.#log.verbose(event.peer ? `${peerName(event.peer.publicKey.bytes)} - ${text}` : text);
  }
}
