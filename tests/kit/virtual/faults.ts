import type { Site } from './internet.js';
import type { NodeHost } from './node-host.js';
import type { Scenario } from './scenario.js';

/** One thing that goes wrong, or that somebody does. Each undoes itself after some time, or `Scenario.heal` does. */
type Fault = (scenario: Scenario) => void;

const seconds = (scenario: Scenario, from: number, to: number): number =>
  (from + (to - from) * scenario.world.random.fraction()) * 1_000;

function during(scenario: Scenario, time: number, what: string, begin: () => void, end: () => void): void {
  const { world } = scenario;
  world.tell(`${what} for ${(time / 1_000).toFixed(1)} s`);
  begin();
  let isOver = false;
  const finish = (): void => {
    if (isOver) return;
    isOver = true;
    end();
    world.tell(`over: ${what}`);
  };
  world.agenda.after(time, finish);
  scenario.cures.push(finish);
}

const onSite =
  (what: string, begin: (site: Site) => void, end: (site: Site) => void): Fault =>
  (scenario) => {
    const site = scenario.world.random.pick(scenario.world.sites);
    during(
      scenario,
      seconds(scenario, 3, 50),
      `${what} at ${site.name}`,
      () => begin(site),
      () => end(site),
    );
  };

const onNode =
  (act: (node: NodeHost, scenario: Scenario) => void): Fault =>
  (scenario) => {
    const node = scenario.someMember();
    if (node !== undefined) act(node, scenario);
  };

/** What can happen in a scenario, by name. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  'hub killed': (scenario) => {
    const { hub } = scenario.world;
    if (!hub.isRunning) return;
    const isKilled = scenario.world.random.chance(0.5);
    during(
      scenario,
      seconds(scenario, 0.2, 40),
      `the hub is ${isKilled ? 'killed' : 'stopped'}`,
      () => hub.stop(isKilled),
      () => void hub.start(),
    );
  },
  'hub cut off': (scenario) => {
    const { hubSite } = scenario.world;
    during(
      scenario,
      seconds(scenario, 2, 60),
      'the hub is cut off',
      () => {
        hubSite.isCut = true;
      },
      () => {
        hubSite.isCut = false;
      },
    );
  },
  'hub without UDP': (scenario) => {
    const { hubSite } = scenario.world;
    during(
      scenario,
      seconds(scenario, 5, 60),
      'no UDP reaches the hub',
      () => {
        hubSite.blocksUdp = true;
      },
      () => {
        hubSite.blocksUdp = false;
      },
    );
  },
  'node killed': onNode((node, scenario) =>
    during(
      scenario,
      seconds(scenario, 0.1, 20),
      `${node.name} is killed`,
      () => node.kill(),
      () => scenario.restart(node),
    ),
  ),
  'power lost': onNode((node, scenario) =>
    during(
      scenario,
      seconds(scenario, 1, 40),
      `${node.name} loses power`,
      () => node.losePower(),
      () => {
        node.host.isDown = false;
        scenario.restart(node);
      },
    ),
  ),
  asleep: onNode((node, scenario) =>
    during(
      scenario,
      seconds(scenario, 1, 60),
      `${node.name} sleeps`,
      () => node.sleep(),
      () => node.wake(),
    ),
  ),
  moved: onNode((node, scenario) => {
    const { world } = scenario;
    const site = world.random.chance(0.5) ? world.random.pick(world.sites) : world.site();
    node.moveTo(site, world.address(site));
    world.tell(`${node.name} moves to ${site.name}`);
  }),
  'moved asleep': onNode((node, scenario) => {
    const { world } = scenario;
    const site = world.site();
    during(
      scenario,
      seconds(scenario, 5, 40),
      `${node.name} sleeps, and wakes at ${site.name}`,
      () => node.sleep(),
      () => {
        node.moveTo(site, world.address(site));
        node.wake();
      },
    );
  }),
  'site cut off': onSite(
    'no packet passes',
    (site) => {
      site.isCut = true;
    },
    (site) => {
      site.isCut = false;
    },
  ),
  'UDP blocked': onSite(
    'UDP is blocked',
    (site) => {
      site.blocksUdp = true;
    },
    (site) => {
      site.blocksUdp = false;
    },
  ),
  loss: onSite(
    'a fifth is lost',
    (site) => {
      site.loss = 0.2;
    },
    (site) => {
      site.loss = 0;
    },
  ),
  narrow: onSite(
    'no large datagram passes',
    (site) => {
      site.carries = 1_200;
    },
    (site) => {
      site.carries = Infinity;
    },
  ),
  'routers replaced': (scenario) => {
    const { world } = scenario;
    const site = world.random.pick(world.sites);
    world.internet.replaceRouters(site);
    world.tell(`the routers at ${site.name} start again`);
  },
  removed: onNode((node, scenario) => void scenario.remove(node)),
  leaves: onNode((node, scenario) => void scenario.leave(node)),
  renamed: onNode((node, scenario) => void scenario.rename(node)),
  shares: onNode((node, scenario) => void scenario.share(node)),
  'joins late': (scenario) => scenario.joinLate(),
};
