import type { Command } from 'commander';
import { demoCommand } from './demo.js';
import { dropsCommand } from './drops.js';
import { checkInput } from './input.js';
import { adminCommands } from './network/admin.js';
import { backupCommands } from './network/backup.js';
import { memberCommands } from './network/member.js';
import { startCommands } from './network/start.js';
import { stopCommands } from './network/stop.js';

/** All commands, in the groups of the help. */
export function commandGroups(): { readonly title: string; readonly commands: readonly Command[] }[] {
  const groups = [
    { title: 'Start or join a network:', commands: startCommands() },
    { title: 'On every member:', commands: [...memberCommands(), ...stopCommands()] },
    { title: 'For administrators:', commands: [...adminCommands(), ...backupCommands()] },
    { title: 'Other tunnels:', commands: [demoCommand(), dropsCommand()] },
  ];
  for (const { commands } of groups) for (const command of commands) checkInput(command);
  return groups;
}
