import { basename, dirname } from 'node:path';
import { getRawAsset } from 'node:sea';
import { compileFunction, constants } from 'node:vm';
import { PROGRAM_ARGUMENT, PROGRAMS } from '../../src/self.js';

/**
 * The main script of the single executable, and of its workers. It runs `lametund` if that is the executable's name, as a
 * link makes it, and otherwise `lametun`. Workers and other programs are for its own use, and named by an argument.
 *
 * Each program is a script among the assets, which requires others. So a program compiles only what it needs.
 */
function chooseProgram(): string {
  const first = process.argv[2] ?? '';
  if (!first.startsWith(PROGRAM_ARGUMENT))
    return basename(process.argv0) === 'lametund' ? 'cli/lametund' : 'cli/main';
  process.execArgv.push(...process.argv.splice(2, 1)); // the program sees its own arguments only
  return first.slice(PROGRAM_ARGUMENT.length);
}

interface Module {
  readonly exports: object;
}

const modules = new Map<string, Module>();

function load(name: string): object {
  const known = modules.get(name);
  if (known !== undefined) return known.exports;
  const source = Buffer.from(getRawAsset(name) as ArrayBuffer).toString();
  const script = compileFunction(source, ['exports', 'require', 'module', '__filename', '__dirname'], {
    filename: `lametun:${name}`,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const module: Module = { exports: {} };
  modules.set(name, module);
  script(module.exports, requireFrom, module, process.execPath, dirname(process.execPath));
  return module.exports;
}

function requireFrom(id: string): unknown {
  if (id.startsWith('./')) return load(id.slice(2)); // all scripts are in one folder
  const builtin = process.getBuiltinModule(id);
  if (builtin === undefined) throw new Error(`${id} is not part of this executable`); // what packages can do without
  return builtin;
}

const program = chooseProgram();
if (PROGRAMS.includes(program)) load(`${program.replaceAll('/', '-')}.js`);
else {
  process.stderr.write(`lametun: ${PROGRAM_ARGUMENT}${program}: this option is for internal use\n`);
  process.exitCode = 2;
}
