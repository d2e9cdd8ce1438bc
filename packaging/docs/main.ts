/**
 * Writes the manual pages to dist/man/ and the completions to dist/completion/: a step of `npm run build`. `packaging/deb`
 * installs them. Two builds give the same bytes.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { packageVersion } from '../../src/cli/package-version.js';
import { completionFiles } from './completion/files.js';
import { manualPages } from './pages.js';
import { releaseDate } from './release-date.js';

const changelog = readFileSync('CHANGELOG.md', 'utf8');
const source = { program: packageVersion(), date: releaseDate(changelog, process.env['SOURCE_DATE_EPOCH']) };
write('dist/man', manualPages(source));
write('dist/completion', completionFiles());

function write(folder: string, files: ReadonlyMap<string, string>): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of files) writeFileSync(`${folder}/${name}`, text);
}
