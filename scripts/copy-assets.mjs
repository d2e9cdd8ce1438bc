// Completes dist/ after the compiler: copies the data files that code reads from beside itself, and removes
// what was compiled from a source that is gone, which would otherwise be tested and published for ever.
import { chmodSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs';

for (const folder of ['tests/vectors', 'src/demo/recording']) {
  if (existsSync(folder)) cpSync(folder, `dist/${folder}`, { recursive: true, force: true });
}
for (const top of ['src', 'packaging', 'tests']) {
  for (const file of readdirSync(`dist/${top}`, { recursive: true })) {
    const source = `${top}/${file.replace(/\.(js|d\.ts)(\.map)?$/, '.ts')}`;
    if (/\.(js|d\.ts)(\.map)?$/.test(file) && !existsSync(source)) rmSync(`dist/${top}/${file}`);
  }
}
for (const program of ['dist/src/cli/main.js', 'dist/src/cli/lametund.js']) {
  if (existsSync(program)) chmodSync(program, 0o755);
}
