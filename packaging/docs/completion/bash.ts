import type { OptionText, Values } from '../definitions.js';
import { byValues, type CompletionModel, HEAD, valuedOptions } from './model.js';

/** The commands that offer values. */
const OFFER: Readonly<Record<Values, string>> = {
  none: ':',
  files: 'compopt -o default',
  folders: 'compopt -o dirnames',
  groups: '_lametun_lines < <(compgen -g)',
  hosts: '_lametun_lines < <(compgen -A hostname)',
  devices: '_lametun_devices',
  sockets: '_lametun_sockets',
  stored: '_lametun_stored',
};

/** The script for bash(1), 4.4 or newer. */
export function bashCompletion({ commands, plain, daemon }: CompletionModel): string {
  const valued = valuedOptions(commands.flatMap(({ options }) => options));
  const args = commands.flatMap(({ name, args }) =>
    args.map(({ values }, i) => [`'${name} ${i}'`, values] as const),
  );
  const offered = args.filter(([, values]) => values !== 'none');
  return `${HEAD}

# Offers those words that begin with the current word.
_lametun_offer() {
  local word
  for word; do
    [[ $word == "$cur"* && $word != *[!A-Za-z0-9._-]* ]] && COMPREPLY+=("$word")
  done
}

# The same for the lines of standard input.
_lametun_lines() {
  local words
  mapfile -t words
  _lametun_offer "\${words[@]}"
}

# What the running lametun knows.
_lametun_stored() {
  _lametun_lines < <(command lametun complete "$command" \${state:+"--state=$state"} 2>/dev/null)
}

# Running lametund interfaces.
_lametun_sockets() {
  local words
  words=(/var/run/wireguard/*.sock)
  words=("\${words[@]##*/}")
  _lametun_offer "\${words[@]%.sock}"
}

# TUN devices, and configurations of wg-quick.
_lametun_devices() {
  local path
  for path in /sys/class/net/*/tun_flags; do
    path=\${path%/tun_flags}
    _lametun_offer "\${path##*/}"
  done
  for path in /etc/wireguard/*.conf; do
    path=\${path##*/}
    _lametun_offer "\${path%.conf}"
  done
}

# The current word and the one before it: bash makes three words of --option=value.
_lametun_start() {
  cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} COMPREPLY=()
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
}

_lametun() {
  local LC_ALL=C cur prev command=\${COMP_WORDS[1]} option state= position=0 i
  _lametun_start
  if ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then
    _lametun_offer ${commands.map(({ name }) => name).join(' ')}
    return
  fi
  if [[ $command == -* ]]; then
    case $prev in
${valueCases(valuedOptions(plain), '      ')}
      *) _lametun_offer ${names(plain)} ;;
    esac
    return
  fi
  case $prev in
${valueCases(valued, '    ', 'return')}
  esac
  for ((i = 2; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${[...valued.keys()].join('|')})
        option=\${COMP_WORDS[i++]}
        [[ \${COMP_WORDS[i]} == = ]] && ((i++))
        [[ $option == --state ]] && state=\${COMP_WORDS[i]}
        ;;
      -?*) ;;
      *) ((position++)) ;;
    esac
  done
  if [[ $cur != -* ]]; then
    case "$command $position" in
${byValues(new Map(offered))
  .map(([values, places]) => `      ${places.join('|')}) ${OFFER[values]}; return ;;`)
  .join('\n')}
      'help 0') _lametun_offer ${commands.map(({ name }) => name).join(' ')}; return ;;
    esac
  fi
  case $command in
${commands
  .filter(({ options }) => options.length > 0)
  .map(({ name, options }) => `    ${name}) _lametun_offer ${names(options)} ;;`)
  .join('\n')}
  esac
}

_lametund() {
  local LC_ALL=C cur prev
  _lametun_start
  if [[ $cur == -* ]]; then
    _lametun_offer ${names(daemon)}
  else
    _lametun_devices
  fi
}

complete -F _lametun lametun
complete -F _lametund lametund
`;
}

const names = (options: readonly OptionText[]): string => options.flatMap(({ names }) => names).join(' ');

const valueCases = (valued: ReadonlyMap<string, Values>, indent: string, after = ''): string =>
  byValues(valued)
    .map(([values, names]) => `${indent}${names.join('|')}) ${OFFER[values]}${after && `; ${after}`} ;;`)
    .join('\n');
