import type { ArgumentText, CommandText, OptionText, Values } from '../definitions.js';
import { type CompletionModel, HEAD } from './model.js';

/** Actions of _arguments, zshcompsys(1). */
const ACTION: Readonly<Record<Values, string>> = {
  none: ' ',
  files: '_files',
  folders: '_files -/',
  groups: '_groups',
  hosts: '_hosts',
  devices: '_lametun_devices',
  sockets: '_lametun_sockets',
  stored: '_lametun_stored',
};

/** An argument without words to offer. With a message instead, Tab would insert no option in its place. */
const NO_WORDS = '()';

/** The script for zsh(1). */
export const zshCompletion = ({
  commands,
  plain,
  daemon,
}: CompletionModel): string => `#compdef lametun lametund
${HEAD}

_lametun_offer() {
  setopt localoptions extendedglob
  compadd -- \${(M)@:#[A-Za-z0-9._-]##}
}

# What the running lametun knows.
_lametun_stored() {
  local folder=\${(Q)opt_args[--state]}
  _lametun_offer \${(f)"$(command lametun complete $words[1] \${folder:+--state=$folder} 2>/dev/null)"}
}

# Running lametund interfaces.
_lametun_sockets() { _lametun_offer /var/run/wireguard/*.sock(N:t:r) }

# TUN devices, and configurations of wg-quick.
_lametun_devices() { _lametun_offer /sys/class/net/*/tun_flags(N:h:t) /etc/wireguard/*.conf(N:t:r) }

_lametun_commands() {
  local -a commands=(
${commands.map(({ name, about }) => `    ${quoted(`${name}:${about}`)}`).join('\n')}
  )
  _describe command commands
}

_lametun() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  if [[ $service == lametund ]]; then
    _arguments : ${specs(daemon, [{ name: 'interface', values: 'devices' }])}
    return
  fi
  if [[ $words[2] == -* ]]; then
    _arguments : ${specs(plain)}
    return
  fi
  _arguments -C '1:command:_lametun_commands' '*::argument:->arguments' && return
  case $words[1] in
${commands.map(commandCase).join('\n')}
  esac
}

if [[ $funcstack[1] == _lametun ]]; then
  _lametun "$@"
else
  compdef _lametun lametun lametund
fi
`;

const commandCase = ({ name, options, args }: CommandText): string =>
  name === 'help'
    ? `    help) _arguments : '1:command:_lametun_commands' ;;`
    : `    ${name}) _arguments : ${specs(options, args)} ;;`;

function specs(
  options: readonly OptionText[],
  args: readonly (Pick<ArgumentText, 'name' | 'values'> & { readonly term?: string })[] = [],
): string {
  const places = args.map(({ name, term, values }) =>
    quoted(`${term?.includes('...') ? '*' : ''}:${name}:${values === 'none' ? NO_WORDS : ACTION[values]}`),
  );
  return [...options.flatMap(optionSpecs), ...places].map((spec) => `\\\n      ${spec}`).join(' ');
}

/** One for each name of the option. */
function optionSpecs({ names, value, about, values, isRepeatable, excludes }: OptionText): string[] {
  const others = [...(names.length > 1 ? names : []), ...excludes];
  const head = isRepeatable ? '*' : others.length > 0 ? `(${others.join(' ')})` : '';
  return names.map((name) => {
    const argument = value === undefined ? '' : `:${value.replaceAll(':', '\\:')}:${ACTION[values]}`;
    const join = value === undefined || !name.startsWith('--') ? '' : '=';
    return quoted(`${head}${name}${join}[${about.replaceAll(/[[\]\\]/g, '\\$&')}]${argument}`);
  });
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
