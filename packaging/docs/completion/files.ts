import { bashCompletion } from './bash.js';
import { fishCompletion } from './fish.js';
import { completionModel } from './model.js';
import { zshCompletion } from './zsh.js';

/**
 * The scripts by their file names. In a system, `lametun.bash` is `lametun` and `lametund` in
 * /usr/share/bash-completion/completions, `_lametun` is in /usr/share/zsh/vendor-completions, and `lametun.fish` is also
 * `lametund.fish` in /usr/share/fish/vendor_completions.d.
 */
export function completionFiles(): ReadonlyMap<string, string> {
  const model = completionModel();
  return new Map([
    ['lametun.bash', bashCompletion(model)],
    ['_lametun', zshCompletion(model)],
    ['lametun.fish', fishCompletion(model)],
  ]);
}
