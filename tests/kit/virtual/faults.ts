import { MemoryStore } from '../memory-store.js';
import type { Site } from './internet.js';
import type { NodeHost } from './node-host.js';
import type { Scenario } from './scenario.js';

/** One thing that goes wrong, or that somebody does. */
export interface Fault {
  /** Begins it. What lasts undoes itself after some time, or `Scenario.heal` does. */
  readonly act: (scenario: Scenario) => void;
  /** For so long after its end a packet may be lost, milliseconds, if nothing else goes wrong. */
  readonly recovers: number;
  /** After how long after the end of all the network is as it should be, milliseconds, if not as with all others. */
  readonly convergence?: number;
  /** It happens only alone: others would make it impossible to say what must follow. */
  readonly isAlone?: boolean;
}

const between = (scenario: Scenario, from: number, to: number): number =>
  (from + (to - from) * scenario.world.random.fraction()) * 1_000;

/** Something that lasts. @param seconds from and to */
function lasting(
  scenario: Scenario,
  seconds: readonly [number, number],
  what: string,
  begin: () => void,
  end: () => void,
): void {
  const { world } = scenario;
  const time = between(scenario, ...seconds);
  world.tell(`${what} for ${(time / 1_000).toFixed(1)} s`);
  begin();
  scenario.last(time, () => {
    end();
    world.tell(`over: ${what}`);
  });
}

const onSite = (what: string, begin: (site: Site) => void, end: (site: Site) => void): Fault['act'] => {
  return (scenario) => {
    const site = scenario.world.random.pick(scenario.world.sites);
    lasting(
      scenario,
      [3, 50],
      `${what} at ${site.name}`,
      () => begin(site),
      () => end(site),
    );
  };
};

const onNode = (act: (node: NodeHost, scenario: Scenario) => void): Fault['act'] => {
  return (scenario) => {
    const node = scenario.someMember();
    if (node !== undefined) act(node, scenario);
  };
};

/** What can happen in a scenario, by name. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  'hub stopped': {
    recovers: 40_000,
    act: (scenario) => {
      const { hub, random } = scenario.world;
      if (!hub.isRunning) return;
      const isKilled = random.chance(0.5);
      const what = `the hub is ${isKilled ? 'killed' : 'stopped'}`;
      lasting(
        scenario,
        [0.2, 40],
        what,
        () => hub.stop(isKilled),
        () => void hub.start(),
      );
    },
  },
  'hub cut off': {
    recovers: 40_000,
    act: (scenario) => {
      const { hubSite } = scenario.world;
      const set = (isCut: boolean) => (): void => {
        hubSite.isCut = isCut;
      };
      lasting(scenario, [2, 60], 'the hub is cut off', set(true), set(false));
    },
  },
  'hub without UDP': {
    recovers: 10_000,
    act: (scenario) => {
      const { hubSite } = scenario.world;
      const set = (blocks: boolean) => (): void => {
        hubSite.blocksUdp = blocks;
      };
      lasting(scenario, [5, 60], 'no UDP reaches the hub', set(true), set(false));
    },
  },
  'hub moved': {
    recovers: 60_000,
    act: (scenario) => {
      const { hub } = scenario.world;
      hub.moveTo(hub.addresses[1]!.host);
      scenario.world.tell('the hub moves to its other address');
      scenario.over();
    },
  },
  'hub with another database': {
    recovers: 40_000,
    isAlone: true,
    act: (scenario) => {
      const { hub } = scenario.world;
      const { store } = hub;
      const swap = (to: MemoryStore): void => {
        hub.stop(true);
        hub.store = to;
        void hub.start();
      };
      lasting(
        scenario,
        [5, 40],
        'the hub has another database',
        () => swap(new MemoryStore()),
        () => swap(store),
      );
    },
  },
  'backup restored': {
    recovers: 40_000,
    isAlone: true,
    act: onNode((node, scenario) => void scenario.restoreAfterSharing(node)),
  },
  'node killed': {
    recovers: 3_000,
    act: onNode((node, scenario) =>
      lasting(
        scenario,
        [0.1, 20],
        `${node.name} is killed`,
        () => node.kill(),
        () => scenario.restart(node),
      ),
    ),
  },
  'power lost': {
    recovers: 3_000,
    act: onNode((node, scenario) =>
      lasting(
        scenario,
        [1, 40],
        `${node.name} loses power`,
        () => node.losePower(),
        () => {
          node.host.isDown = false;
          scenario.restart(node);
        },
      ),
    ),
  },
  asleep: {
    recovers: 10_000,
    act: onNode((node, scenario) =>
      lasting(
        scenario,
        [1, 60],
        `${node.name} sleeps`,
        () => node.sleep(),
        () => node.wake(),
      ),
    ),
  },
  moved: {
    recovers: 7_000,
    act: onNode((node, scenario) => {
      const { world } = scenario;
      const site = world.random.chance(0.5) ? world.random.pick(world.sites) : world.site();
      node.moveTo(site, world.address(site));
      world.tell(`${node.name} moves to ${site.name}`);
      scenario.over();
    }),
  },
  'moved asleep': {
    recovers: 10_000,
    act: onNode((node, scenario) => {
      const { world } = scenario;
      const site = world.site();
      const what = `${node.name} sleeps, and wakes at ${site.name}`;
      lasting(
        scenario,
        [5, 40],
        what,
        () => node.sleep(),
        () => {
          node.moveTo(site, world.address(site));
          node.wake();
        },
      );
    }),
  },
  'network changes all the time': {
    recovers: 20_000,
    act: onNode((node, scenario) => scenario.shake(node)),
  },
  'state copied': {
    recovers: 310_000,
    convergence: 310_000, // as long as a machine waits whose place another one has
    isAlone: true,
    act: onNode((node, scenario) => scenario.copy(node)),
  },
  'site cut off': {
    recovers: 40_000,
    act: onSite(
      'no packet passes',
      (site) => {
        site.isCut = true;
      },
      (site) => {
        site.isCut = false;
      },
    ),
  },
  'UDP blocked': {
    recovers: 10_000,
    act: onSite(
      'UDP is blocked',
      (site) => {
        site.blocksUdp = true;
      },
      (site) => {
        site.blocksUdp = false;
      },
    ),
  },
  loss: {
    recovers: 10_000,
    act: onSite(
      'a fifth is lost',
      (site) => {
        site.loss = 0.2;
      },
      (site) => {
        site.loss = 0;
      },
    ),
  },
  narrow: {
    recovers: 0,
    act: onSite(
      'no large datagram passes',
      (site) => {
        site.carries = 1_200;
      },
      (site) => {
        site.carries = Infinity;
      },
    ),
  },
  'routers replaced': {
    recovers: 20_000,
    act: (scenario) => {
      const { world } = scenario;
      const site = world.random.pick(world.sites);
      world.internet.replaceRouters(site);
      world.tell(`the routers at ${site.name} start again`);
      scenario.over();
    },
  },
  removed: { recovers: 0, act: onNode((node, scenario) => void scenario.remove(node)) },
  leaves: { recovers: 0, act: onNode((node, scenario) => void scenario.leave(node)) },
  renamed: { recovers: 0, act: onNode((node, scenario) => void scenario.rename(node)) },
  'names swapped': {
    recovers: 0,
    act: onNode((node, scenario) => {
      const other = scenario.someMember();
      if (other !== undefined && other !== node) void scenario.swapNames(node, other);
    }),
  },
  shares: { recovers: 0, act: onNode((node, scenario) => void scenario.share(node)) },
  'joins late': { recovers: 0, act: (scenario) => scenario.joinLate() },
};
