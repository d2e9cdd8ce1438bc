import type { Log } from '../log.js';
import type { Engine, SocketEndpoint } from '../tunnel/engine.js';
import type { MachineEvent } from '../wireguard/events.js';
import type { WireGuardMachine } from '../wireguard/machine.js';
import { NO_INDEX } from '../wireguard/numbers.js';
import type { Peer } from '../wireguard/peer.js';
import { eventText } from './event-text.js';
import { peerName } from './peer-name.js';
import type { Sources } from './sources.js';

/** How many peers whose time has come are seen to before others get their turn: `wg` above all. */
const PEERS_PER_TURN = 32;

/** The longest time without a look at the clock, milliseconds: timers stand still while the machine sleeps. */
const LONGEST_SLEEP = 5_000;

/** How many peers are made ready for their first handshakes before others get their turn: half a millisecond. */
const PREPARED_PER_TURN = 16;

/** Does what the protocol machine wants, when it wants it: with the data plane, and a timer. */
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

  /** The data plane has been told for the last time. */
  get isDetached(): boolean {
    return this.#isDetached;
  }

  /** To be called after everything that was done to the protocol machine. */
  settle(): void {
    for (let event = this.#machine.poll(); event; event = this.#machine.poll()) this.#act(event);
    const next = this.#machine.nextTimeout();
    if (next >= this.#timerFor || this.#isStopped) return; // the timer comes in time, and sets the next
    clearTimeout(this.#timer);
    this.#timerFor = next;
    const delay = Math.ceil(next - this.#engine.now());
    this.#timer = setTimeout(this.#expire, Math.min(Math.max(delay, 0), LONGEST_SLEEP));
  }

  /** The same after `handleRoaming`. The data plane is there already, or farther: it must not be sent back. */
  settleRoaming(): void {
    for (let event = this.#machine.poll(); event; event = this.#machine.poll()) {
      if (event.kind !== 'endpoint') this.#act(event);
    }
  }

  /** Makes peers ready for their first handshakes, when there is nothing else to do. */
  prepareSoon(): void {
    this.#preparing ??= setImmediate(this.#prepare);
  }

  /** There is nobody any more who would hear what the data plane is told. */
  detach(): void {
    this.#isDetached = true;
  }

  /** Ends the timer. What `settle` finds is still done. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** A few peers at a time, and then whoever waits has a turn. */
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
        this.#setEndpoint(event.peer, event.endpoint as SocketEndpoint); // all of them are the engine's
        break;
      case 'forget-source':
        engine.forgetSource(event.peer.id);
        break;
    }
  }

  /** Strangers are answered from the address that they wrote to, whatever the routes say. */
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
