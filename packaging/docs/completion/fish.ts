import type { OptionText, Values } from '../definitions.js';
import { type CompletionModel, HEAD, valuedOptions } from './model.js';

/** Options of fish's complete(1) for a value. */
const OFFER: Readonly<Record<Values, string>> = {
  none: ' -x',
  files: ' -r -F',
  folders: " -x -a '(__fish_complete_directories)'",
  groups: " -x -a '(__fish_complete_groups)'",
  hosts: " -x -a '(__fish_print_hostnames)'",
  devices: " -x -a '(__lametun_devices)'",
  sockets: " -x -a '(__lametun_sockets)'",
  stored: " -x -a '(__lametun_stored)'",
};

/** The script for fish(1). */
export function fishCompletion({ commands, plain, daemon }: CompletionModel): string {
  const valued = [...valuedOptions(commands.flatMap(({ options }) => options)).keys()];
  const lines = [
    ...commands.map(
      ({ name, about }) => `complete -c lametun -n '__lametun_at 1' -a ${name} -d ${quoted(about)}`,
    ),
    ...plain.map((option) => optionLine('lametun', '__lametun_plain', option)),
    ...commands.flatMap(({ name, options, args }) => [
      ...options.map((option) => optionLine('lametun', `__lametun_in ${name}`, option)),
      ...args.flatMap(({ values }, i) =>
        values === 'none'
          ? []
          : [`complete -c lametun -n '__lametun_in ${name} ${i}'${OFFER[values].replace(/ -[xr]/, '')}`],
      ),
    ]),
    `complete -c lametun -n '__lametun_in help 0' -a '${commands.map(({ name }) => name).join(' ')}'`,
    ...daemon.map((option) => optionLine('lametund', undefined, option)),
    `complete -c lametund -a '(__lametun_devices)'`,
  ];
  return `${HEAD}

function __lametun_words
    string match -r '^[A-Za-z0-9._-]+$' -- $argv
end

# Whether this is the Nth word after lametun.
function __lametun_at
    test (count (commandline -opc)) -eq $argv[1]
end

function __lametun_plain
    set -l words (commandline -opc)
    test (count $words) -eq 1; or string match -q -- '-*' $words[2]
end

# Whether the command is this one and, with a number, so many arguments stand before the cursor.
function __lametun_in
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test "$words[2]" = $argv[1]; or return
    set -q argv[2]; or return 0
    set -l found 0
    set -l before
    for word in $words[3..]
        if not string match -q -- '-*' $word; and not contains -- "$before" ${valued.join(' ')}
            set found (math $found + 1)
        end
        set before $word
    end
    test $found -eq $argv[2]
end

# What the running lametun knows.
function __lametun_stored
    set -l words (commandline -opc)
    set -l state (string match -r -- '^--state=.*' $words)
    set -l place (contains -i -- --state $words); and set state --state=$words[(math $place + 1)]
    __lametun_words (command lametun complete $words[2] $state 2>/dev/null)
end

# Running lametund interfaces.
function __lametun_sockets
    for path in /var/run/wireguard/*.sock
        __lametun_words (string replace -r '.*/(.*)\\.sock$' '$1' -- $path)
    end
end

# TUN devices, and configurations of wg-quick.
function __lametun_devices
    for path in /sys/class/net/*/tun_flags /etc/wireguard/*.conf
        __lametun_words (string replace -r '.*/([^/]+)(\\.conf|/tun_flags)$' '$1' -- $path)
    end
end

complete -c lametun -f
complete -c lametund -f
${lines.join('\n')}
`;
}

function optionLine(program: string, condition: string | undefined, option: OptionText): string {
  const { names, value, values, about } = option;
  const flags = names.map((name) => {
    if (name.startsWith('--')) return `-l ${name.slice(2)}`;
    return `${name.length === 2 ? '-s' : '-o'} ${name.slice(1)}`;
  });
  const when = condition === undefined ? '' : ` -n ${quoted(condition)}`;
  return `complete -c ${program}${when} ${flags.join(' ')}${value === undefined ? '' : OFFER[values]} -d ${quoted(about)}`;
}

const quoted = (text: string): string => `'${text.replaceAll(/['\\]/g, '\\$&')}'`;
