import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { shellFolder } from './shell-folder.js';

/** What zsh makes of a line when the user presses Tab. */
const LINES = {
  'lametun se': 'lametun serve ',
  'lametun help sh': 'lametun help share ',
  'lametun ping annab': 'lametun ping annabel ',
  'lametun approve --state=/y annab': 'lametun approve --state=/y annabel ',
  'lametun ping --state /x annab': 'lametun ping --state /x annabel ',
  'lametun rename a': 'lametun rename anna', // what the good names have in common, and the hostile ones have not
  'lametun join --oper': 'lametun join --operators=',
  'lametun share 10.0.0.0/8 10.1.0.0/16 --no': 'lametun share 10.0.0.0/8 10.1.0.0/16 --none ',
  'lametun serve --operators roo': 'lametun serve --operators root ',
  'lametun up --state=/us': 'lametun up --state=/usr/',
  'lametun restore lametun.b': 'lametun restore lametun.bash ',
  'lametun -lis': 'lametun -listen ',
  'lametund --fo': 'lametund --foreground ',
};

/** Types each line, Tab, and a key that prints the line and empties it, into an interactive shell. */
const SCRIPT = `
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner 'PS1= RPS1=; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; setopt nobeep noautomenu
  shown() { print -r -- "LINE:$BUFFER:""END"; BUFFER=; }; zle -N shown; bindkey "^X" shown; print REA""DY'
zpty -r inner reply '*READY*'
for line; do
  zpty -w -n inner "$line"$'\\t\\x18'
  zpty -r inner reply '*:END*'
  print -r -- "\${\${reply##*LINE:}%%:END*}"
done`;

test('zsh completes commands, options and names', (t) => {
  if (!needs(t, 'zsh')) return;
  const folder = shellFolder(t);
  writeFileSync(join(folder.path, 'try.zsh'), SCRIPT);
  const args = ['-f', join(folder.path, 'try.zsh'), ...Object.keys(LINES)];
  const { stdout, stderr } = spawnSync('zsh', args, { ...folder.options, encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.deepEqual(
    stdout.trimEnd().split('\n'),
    Object.values(LINES).map((line, i, { length }) => (i === length - 1 ? line.trimEnd() : line)),
  );
  assert.deepEqual(folder.asked().slice(0, 3), ['ping', 'approve --state=/y', 'ping --state=/x']);
  assert.ok(!existsSync(folder.touched), 'a name was evaluated');
});
