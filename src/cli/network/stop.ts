import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { LametunError, usage } from '../../errors.js';
import { lockHolder } from '../../linux/files/file-lock.js';
import { packageVersion } from '../package-version.js';
import { installedUnit, removeUnit, stopUnit } from '../units/install.js';
import { askOnce, print } from './ask.js';
import { decideLeave, optionFor } from './decide.js';
import { type Common, command } from './options.js';

/** The commands that stop: `down` until the next start, `leave` for good. */
export function stopCommands(): Command[] {
  return [downCommand(), leaveCommand()];
}

/** How long a process may take to undo what it set up, milliseconds. */
const PATIENCE = 30_000;
const LOOK = 50;

function downCommand(): Command {
  return command('down', 'stop the hub and node until the next start').action(
    async ({ state, json }: Common) => {
      const { holderOf } = await import('../../node/shell/state.js'); // `--help` and the demo do not need it
      const running = holderOf(state); // the other files may be damaged, or of a newer version
      const unit = installedUnit(state);
      if (unit !== undefined) stopUnit(unit);
      await stopProcess(state);
      const wasRunning = running !== undefined;
      print(json, { event: 'stopped', stopped: wasRunning, unit: unit?.name }, () => {
        const first = wasRunning
          ? `Stopped. To start again, run: lametun up${optionFor(state)}`
          : `Nothing is running on ${state}`;
        return unit === undefined
          ? first
          : `${first}\n${unit.name} starts it at the next boot. To prevent that, run: systemctl disable ${unit.name}`;
      });
    },
  );
}

function leaveCommand(): Command {
  return command('leave', 'leave the network, and forget it')
    .option('--force', 'leave even if the hub cannot be told')
    .action(async ({ state, json, force = false }: Common & { readonly force?: boolean }) => {
      const { readSituation } = await import('./situation.js');
      const situation = readSituation(state);
      const answer =
        decideLeave(force, situation) === 'ask'
          ? await askOnce<'leave'>(state, { command: 'leave', force })
          : await leaveHere(state, force);
      const unit = situation.hub === undefined ? installedUnit(state) : undefined;
      if (unit !== undefined) removeUnit(unit);
      print(json, answer, () =>
        [
          answer.told
            ? 'Left the network'
            : `Left the network, but could not tell the hub: ask an administrator to remove this node. The old key is in ${answer.kept}`,
          ...(unit === undefined
            ? []
            : [unit.path === undefined ? `Disabled ${unit.name}` : `Removed ${unit.path}`]),
        ].join('\n'),
      );
    });
}

async function leaveHere(path: string, force: boolean) {
  const { StateDirectory } = await import('../../node/shell/state.js');
  const { leaveStopped } = await import('../../node/shell/leave.js');
  const state = StateDirectory.open(path, packageVersion());
  try {
    const node = state.read('node')!;
    return await leaveStopped({ state, node, program: packageVersion(), force });
  } finally {
    state.close();
  }
}

/** Stops the process of a state directory, and waits until it has undone what it set up. @throws LametunError */
async function stopProcess(state: string): Promise<void> {
  const lock = join(state, 'lock');
  const pid = lockHolder(lock);
  if (pid === undefined) return;
  if (pid === 0)
    throw new LametunError(
      'busy',
      `${lock} does not name the process that holds it: stop that process yourself`,
    );
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPERM')
      throw usage(`process ${pid} belongs to another user: try sudo`);
  }
  for (const latest = performance.now() + PATIENCE; lockHolder(lock) === pid; await sleep(LOOK)) {
    if (performance.now() > latest)
      throw new LametunError(
        'busy',
        `process ${pid} did not end within ${PATIENCE / 1000} s: run kill -9 ${pid}`,
      );
  }
}
