import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NatKind } from '../kit/nat-model.js';
import type { NodeHost } from '../kit/virtual/node-host.js';
import { World } from '../kit/virtual/world.js';

/** From one packet of a stream to the next, milliseconds. */
const PACE = 20;

/** Two members, and packets from one to the other, each of which is answered if it arrives. */
class Stream {
  readonly world: World;
  readonly from: NodeHost;
  readonly to: NodeHost;
  readonly #sent = new Map<number, number>();

  constructor(seed: number, access: readonly NatKind[]) {
    this.world = new World(seed);
    this.from = this.world.node(this.world.site(access));
    this.to = this.world.node(this.world.site(access));
  }

  async start(): Promise<this> {
    await this.world.start();
    this.world.join(this.from);
    this.world.join(this.to);
    const { agenda } = this.world;
    const send = (): void => {
      agenda.after(PACE, send);
      const { id, machine } = this.to;
      if (machine !== undefined && id !== undefined && this.from.interface.peers.has(id))
        this.#sent.set(this.from.interface.ask(id), agenda.now);
    };
    agenda.after(PACE, send);
    return this;
  }

  /** When the packets were sent that were not answered, after the first that was. */
  lost(): number[] {
    const { answers } = this.from.interface;
    const first = [...this.#sent.keys()].findIndex((sequence) => answers.has(sequence));
    return [...this.#sent]
      .slice(first)
      .filter(([sequence]) => !answers.has(sequence))
      .map(([, at]) => at);
  }
}

test('no packet is lost when the relay changes from the channel to UDP', async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const stream = await new Stream(seed, ['hard']).start();
    const { from, to, world } = stream;
    for (const { host } of [from, to]) host.site.blocksUdp = true;
    await world.runFor(10_000);
    assert.deepEqual([from.relay, to.relay], ['channel', 'channel']);
    for (const { host } of [from, to]) host.site.blocksUdp = false;
    await world.runFor(60_000);
    const { now } = world.agenda;
    assert.match(`${from.relay} ${to.relay} ${from.pathTo(to.id!)}`, /^203\S+ 203\S+ relayed/);
    assert.deepEqual(
      stream.lost().filter((at) => at < now - 500),
      [],
      `seed ${seed}`,
    );
  }
});

test('when a direct path has come back, the end of the hub costs its members no packet', async () => {
  for (let seed = 1; seed <= 5; seed++) {
    const stream = await new Stream(seed, ['plain']).start();
    const { from, to, world } = stream;
    const { internet } = world;
    const areDirect = (): boolean => from.isDirectTo(to.id!) && to.isDirectTo(from.id!);
    await world.runFor(10_000);
    const send = internet.send;
    internet.send = (host, port, bytes, to, hops) => {
      const isToHub = to.address.join('.') === world.hub.host.address.join('.');
      if (isToHub) send.call(internet, host, port, bytes, to, hops);
    };
    await world.runFor(10_000);
    assert.ok(!areDirect());
    internet.send = send;
    await world.runFor(3_000);
    assert.ok(areDirect());
    const healed = world.agenda.now;
    await world.runFor(200 * seed);
    world.hub.stop(true);
    await world.runFor(20_000);
    const { now } = world.agenda;
    const lost = stream.lost().filter((at) => at > healed && at < now - 500);
    assert.deepEqual(lost, [], `seed ${seed}`);
  }
});
