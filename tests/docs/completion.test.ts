import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { completionModel } from '../../packaging/docs/completion/model.js';
import { zshCompletion } from '../../packaging/docs/completion/zsh.js';
import { needs } from '../kit/requirements.js';
import { shellFolder } from './shell-folder.js';

const { commands, plain, daemon } = completionModel();
const optionsOf = (name: string): string[] =>
  commands.find((command) => command.name === name)!.options.flatMap(({ names }) => names);

/** Command lines, and the words that a shell offers for the last word. */
const LINES: readonly (readonly [line: string, words: readonly string[]])[] = [
  ['lametun ', commands.map(({ name }) => name)],
  ['lametun se', ['serve']],
  ['lametun help sh', ['share']],
  ['lametun ping ', ['anna', 'annabel']],
  ['lametun ping annab', ['annabel']],
  ['lametun ping -c 3 --state /x anna', ['anna', 'annabel']],
  ['lametun approve --state=/y annab', ['annabel']],
  ['lametun serve --operators roo', ['root']],
  ['lametun -lis', ['-listen']],
  ['lametund --fo', ['--foreground']],
];

/** Lines whose last word is an option, for each command. */
const DASHES = commands.filter(({ options }) => options.length > 0).map(({ name }) => `lametun ${name} -`);

test('bash offers commands, options and names', (t) => {
  if (!needs(t, 'bash')) return;
  const folder = shellFolder(t);
  const lines = [
    ...LINES.map(([line]) => line),
    ...DASHES,
    'lametun -',
    'lametund -',
    'lametun backup ',
    'lametun up --state=',
  ];
  const words = lines.map((line) =>
    line
      .replace('=', ' = ')
      .split(/ +/)
      .map((word) => `'${word}'`)
      .join(' '),
  );
  const script = join(folder.path, 'try.bash');
  writeFileSync(
    script,
    `source lametun.bash
     compopt() { COMPREPLY+=("$2"); } # outside of a completion it fails
     try() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); "_$1"; echo "\${COMPREPLY[*]}"; }
     ${words.map((line) => `try ${line}`).join('\n')}`,
  );
  const { stdout, stderr } = spawnSync('bash', [script], { ...folder.options, encoding: 'utf8' });
  const offered = new Map(stdout.split('\n').map((text, i) => [lines[i], text.split(' ')]));
  assert.equal(stderr, '');
  for (const [line, expected] of LINES) assert.deepEqual(offered.get(line), expected, line);
  for (const { name } of commands.filter(({ options }) => options.length > 0))
    assert.deepEqual(offered.get(`lametun ${name} -`), optionsOf(name));
  assert.deepEqual(
    offered.get('lametun -'),
    plain.flatMap(({ names }) => names),
  );
  assert.deepEqual(
    offered.get('lametund -'),
    daemon.flatMap(({ names }) => names),
  );
  assert.deepEqual(offered.get('lametun backup '), ['default']);
  assert.deepEqual(offered.get('lametun up --state='), ['dirnames']);
  assert.deepEqual(folder.asked(), ['ping', 'ping', 'ping --state=/x', 'approve --state=/y']);
  assert.ok(!existsSync(folder.touched), 'a name was evaluated');
  spawnSync('bash', ['-c', 'compgen -W "$(lametun complete ping)"'], folder.options);
  assert.ok(existsSync(folder.touched), 'the control evaluates the names');
});

test('fish offers commands, options and names', (t) => {
  if (!needs(t, 'fish')) return;
  const folder = shellFolder(t);
  const lines = [
    ...LINES.map(([line]) => line),
    ...DASHES.map((line) => `${line}-`),
    'lametun restore lametun.b',
    'lametun up --state /us',
  ];
  const script = join(folder.path, 'try.fish');
  writeFileSync(
    script,
    `source lametun.fish
     ${lines.map((line) => `complete -C '${line}' | string replace -r '\\t.*' '' | sort; echo ==`).join('\n')}`,
  );
  const { stdout, stderr } = spawnSync('fish', ['--no-config', script], {
    ...folder.options,
    encoding: 'utf8',
  });
  const offered = new Map(
    stdout.split('==\n').map((text, i) => [lines[i], text.split('\n').filter(Boolean)]),
  );
  assert.equal(stderr, '');
  for (const [line, expected] of LINES) assert.deepEqual(offered.get(line), [...expected].sort(), line);
  for (const { name } of commands.filter(({ options }) => options.length > 0)) {
    const long = optionsOf(name).filter((option) => option.startsWith('--'));
    assert.deepEqual(offered.get(`lametun ${name} --`), long.sort());
  }
  assert.deepEqual(offered.get('lametun restore lametun.b'), ['lametun.bash']);
  assert.deepEqual(offered.get('lametun up --state /us'), ['/usr/']);
  assert.deepEqual(folder.asked().slice(0, 4), ['ping', 'ping', 'ping --state=/x', 'approve --state=/y']);
  assert.ok(!existsSync(folder.touched), 'a name was evaluated');
});

test('the script for zsh has each command and option once', () => {
  const script = zshCompletion(completionModel());
  const count = (text: string, part: string): number => text.split(part).length - 1;
  for (const { name, about, options } of commands.filter(({ options }) => options.length > 0)) {
    assert.equal(count(script, `'${name}:${about}'`), 1, name);
    const part = script.slice(script.indexOf(`\n    ${name}) `)).split(' ;;')[0]!;
    for (const option of options.flatMap(({ names }) => names))
      assert.equal(part.match(new RegExp(`['*)]${option}[=[]`, 'g'))?.length, 1, `${name} ${option}`);
  }
  assert.ok(!script.includes('--record'));
});
