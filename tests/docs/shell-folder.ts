import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { completionFiles } from '../../packaging/docs/completion/files.js';

/**
 * A folder with the completion scripts and a `lametun` that says hostile names beside good ones. A shell that evaluates
 * them makes the file `touched`.
 */
export function shellFolder(t: TestContext) {
  const path = mkdtempSync(join(tmpdir(), 'lametun-shell-'));
  t.after(() => rmSync(path, { recursive: true }));
  const touched = join(path, 'touched');
  for (const [name, text] of completionFiles()) writeFileSync(join(path, name), text);
  const names = [
    'anna',
    'annabel',
    `a$(touch ${touched})`,
    `a\`touch ${touched}\``,
    `a;touch ${touched}`,
    'a b',
    'a*',
  ];
  const said = names.map((name) => `'${name}'`).join(' ');
  const stub = `#!/bin/sh\nshift\necho "$*" >> ${path}/asked\nprintf '%s\\n' ${said}\n`;
  writeFileSync(join(path, 'lametun'), stub, { mode: 0o755 });
  const env = { ...process.env, PATH: `${path}:${process.env['PATH']}`, HOME: path };
  return {
    path,
    touched,
    options: { cwd: path, env, timeout: 60_000 },
    /** The arguments of each `lametun complete`. */
    asked: (): string[] =>
      existsSync(join(path, 'asked')) ? readFileSync(join(path, 'asked'), 'utf8').trim().split('\n') : [],
  };
}
