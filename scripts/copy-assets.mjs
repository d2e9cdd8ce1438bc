// Copies into dist/ what the compiler leaves behind: data files that code reads from beside itself.
import { chmodSync, cpSync } from 'node:fs';

for (const folder of ['tests/vectors', 'src/demo/recording']) {
  cpSync(folder, `dist/${folder}`, { recursive: true, force: true });
}
chmodSync('dist/src/cli/main.js', 0o755);
