import { spawnSync } from 'node:child_process';
import { realpathSync, statSync } from 'node:fs';
import { singleFile } from '../../packaging/single-file/make.js';
import { runProgram } from '../../src/linux/process/program.js';
import { Daemon, type Implementation, startUpTime } from './daemon.js';
import type { Hosts } from './hosts.js';
import type { Measurement, Prepared, Section } from './section.js';

/** What any program in JavaScript takes at least. */
const NODE = 'node -e 0';

export const START: Section = {
  name: 'start',
  title:
    'A daemon without peers: time from the command to an answer to `wg show`, memory, and the size of its program',
  async prepare(hosts): Promise<Prepared> {
    const executable: Implementation = {
      name: 'single executable',
      command: [singleFile(process.arch), '--program=cli/lametund'],
    };
    const all = [executable, ...hosts.implementations];
    return {
      metrics: {
        'start to an answer': { unit: 's', better: 'less' },
        'print the version': { unit: 's', better: 'less' },
        'memory when idle': { unit: 'MB', better: 'less' },
        executable: { unit: 'MB', better: 'less' },
      },
      subjects: [...all.map(({ name }) => name), NODE],
      measure: async (subject) =>
        subject === NODE
          ? { 'print the version': timeOf([process.execPath, '-e', '0']) }
          : measureDaemon(all.find(({ name }) => name === subject)!, hosts),
    };
  },
};

async function measureDaemon(implementation: Implementation, hosts: Hosts): Promise<Measurement> {
  const { command } = implementation;
  const start = await startUpTime(implementation, hosts.server, hosts.newDevice());
  const daemon = await Daemon.start(implementation, hosts.server, hosts.newDevice());
  const { memory } = daemon;
  await daemon.stop();
  return {
    'start to an answer': start,
    'print the version': timeOf([...command, '--version']),
    'memory when idle': memory,
    executable: statSync(pathOf(command[0]!)).size / 1e6,
  };
}

/** @returns seconds */
function timeOf([program, ...args]: readonly string[]): number {
  const start = performance.now();
  const { status } = spawnSync(program!, args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with status ${status}`);
  return (performance.now() - start) / 1000;
}

const pathOf = (program: string): string =>
  realpathSync(program.includes('/') ? program : runProgram('sh', ['-c', `command -v ${program}`]).trim());
