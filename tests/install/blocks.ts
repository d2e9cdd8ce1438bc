import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

/** @returns the commands of a block in docs/INSTALL.md */
export function installBlock(name: string): string {
  const text = readFileSync('docs/INSTALL.md', 'utf8');
  const found = new RegExp(
    `<!-- install: ${name} -->\n\`\`\`(?:sh|dockerfile)\n([\\s\\S]*?)\`\`\`\n<!-- end -->`,
  ).exec(text)?.[1];
  return found ?? assert.fail(`docs/INSTALL.md has no block ${name}`);
}
