import { Daemon, startUpTime } from './daemon.js';
import type { Prepared, Section } from './section.js';

export const START: Section = {
  name: 'start',
  title: 'A daemon without peers: time from the command to an answer to `wg show`, and memory',
  async prepare(hosts): Promise<Prepared> {
    return {
      metrics: {
        'start to an answer': { unit: 's', better: 'less' },
        'memory when idle': { unit: 'MB', better: 'less' },
      },
      subjects: hosts.implementations.map(({ name }) => name),
      measure: async (subject) => {
        const implementation = hosts.implementation(subject);
        const start = await startUpTime(implementation, hosts.server, hosts.newDevice());
        const daemon = await Daemon.start(implementation, hosts.server, hosts.newDevice());
        const { memory } = daemon;
        await daemon.stop();
        return { 'start to an answer': start, 'memory when idle': memory };
      },
    };
  },
};
