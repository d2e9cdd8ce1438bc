import { readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { runProgram } from '../linux/process/program.js';
import type { LessonEvent } from './events.js';
import { playLesson } from './lesson.js';
import { OWN_RUN } from './machine.js';
import type { Message } from './sandbox.js';
import { Stage } from './stage.js';

/**
 * Process 1 of the sandbox. It plays the lesson, writes each event as a line to stdout, and then waits for a line on
 * stdin. It ends when stdin ends, since then the audience is gone.
 */
const told: (() => void)[] = [];
createInterface({ input: process.stdin })
  .on('line', () => told.shift()?.())
  .on('close', () => process.exit(0));

const send = (message: Message): void => {
  process.stdout.write(`${JSON.stringify(message)}\n`);
};
const show = (event: LessonEvent): Promise<void> =>
  new Promise((resolve) => {
    told.push(resolve);
    send({ kind: 'event', event });
  });

async function play(): Promise<void> {
  // /proc is still the outer one, so this is the number of this process outside.
  send({ kind: 'up', pid: Number(readlinkSync('/proc/self')) });
  // `ip netns` keeps names in /run/netns. In a /run of our own, nobody else sees them.
  const [mount, ...how] = OWN_RUN;
  runProgram(mount, how);
  const capture = process.env['LAMETUN_DEMO_CAPTURE'];
  const stage = new Stage(show, capture === undefined ? undefined : Number(capture));
  await playLesson(stage);
  // With --keep, capturing goes on.
  setInterval(() => stage.capture.take(), 200);
  const { laptop, homes, internet, gateway, server } = stage.topology;
  const hosts = { laptop, 'home router': homes[0]!.router, internet, gateway, server };
  send({
    kind: 'done',
    hosts: Object.fromEntries(Object.entries(hosts).map(([host, { name }]) => [host, name])),
  });
}

play().catch((error: unknown) =>
  send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
);
