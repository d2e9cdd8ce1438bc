import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Architecture, nodePackage } from '../single-file/node.js';

interface PackageJson {
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** The licences of lametun and of all that is in its executable: Node.js with its parts, and npm packages. */
export function copyrightFile(architecture: Architecture): string {
  const parts = [
    ['lametun', read('LICENSE')],
    ...bundledPackages().map((name) => [name, licenceOf(join('node_modules', name))]),
    ['Node.js', read(join(nodePackage(architecture), 'LICENSE'))],
  ];
  const head = 'lametun is one executable with the parts below. Each has its own licence.\n';
  return [head, ...parts.map(([name, text]) => `${'='.repeat(76)}\n${name}\n\n${text}\n`)].join('\n');
}

/** The npm packages that lametun needs, and those that they need, by name. koffi is in binary packages without licence. */
function bundledPackages(): readonly string[] {
  const found = new Set(['koffi']);
  const needed = (folder: string): void => {
    const { dependencies = {} } = JSON.parse(read(join(folder, 'package.json'))) as PackageJson;
    for (const name of Object.keys(dependencies)) {
      if (found.has(name)) continue;
      found.add(name);
      needed(join('node_modules', name));
    }
  };
  needed('.');
  return [...found].sort();
}

/** @throws Error if a package has no licence text */
function licenceOf(folder: string): string {
  const files = readdirSync(folder);
  const file = files.find((name) => /^licen[cs]e(\.\w+)?$/i.test(name));
  if (file !== undefined) return read(join(folder, file));
  const readme = files.find((name) => /^readme\.md$/i.test(name));
  const section = readme && /^#+ licen[cs]e\s+([\s\S]+)/im.exec(read(join(folder, readme)))?.[1];
  if (section) return section.trim();
  // Two packages name their licence and author, but have no text.
  const { license, author } = JSON.parse(read(join(folder, 'package.json'))) as {
    readonly license?: string;
    readonly author?: string | { readonly name: string };
  };
  if (license === undefined || author === undefined) throw new Error(`${folder} has no licence`);
  return `Licence: ${license}\nAuthor: ${typeof author === 'string' ? author : author.name}\n`;
}

const read = (file: string): string => readFileSync(file, 'utf8');
