#!/bin/sh
# Makes a clone ready: scripts/setup.sh [demo|test|bench|install]
#
# Installs the npm packages, compiles, and asks apt for the programs that the purpose needs and this machine
# lacks. Says nothing when there is nothing to do. A program that cannot be had is named and not fatal: the
# demo then plays its recording, and the tests say which of them could not run.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-demo}

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ip and nft live here, and an ordinary user's PATH on Debian does not have it.
PATH=$PATH:/usr/sbin:/sbin

# --- node and npm ----------------------------------------------------------------------------------------
required='needs Node.js 20.19 or newer (Debian 12 has 18: install it from https://nodejs.org)'
command -v node >/dev/null || die "$required, and found none"
node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)' ||
  die "$required, and this is $(node --version)"
command -v npm >/dev/null || die 'needs npm, which Node.js brings along; Debian: apt install npm'

# --- npm packages ----------------------------------------------------------------------------------------
# npm writes this file last, so its age is the age of a complete installation.
installed=node_modules/.package-lock.json
if [ ! -e "$installed" ] || [ -n "$(find package-lock.json -newer "$installed")" ]; then
  say 'installing the npm packages (npm ci)'
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2
  touch "$installed"
fi

# --- compile ---------------------------------------------------------------------------------------------
# The stamp is as old as the start of the last good build: what was edited meanwhile is newer.
stamp=dist/.built
if [ ! -e "$stamp" ] || [ -n "$(find src packaging tests scripts package.json tsconfig*.json "$installed" -newer "$stamp" | head -n 1)" ]; then
  [ -d dist ] || say 'compiling (npm run build)'
  mkdir -p dist
  touch "$stamp.next"
  npm run --silent build </dev/null >&2
  mv "$stamp.next" "$stamp"
fi

# --- programs --------------------------------------------------------------------------------------------
demo='ip:iproute2 nft:nftables ping:iputils-ping unshare:util-linux'
case $purpose in
  demo) wanted=$demo ;;
  test) wanted="$demo tshark:tshark setpriv:util-linux script:bsdutils wg:wireguard-tools wireguard-go:wireguard-go postgres:postgresql systemd-analyze:systemd mandoc:mandoc groff:groff-base zsh:zsh fish:fish" ;;
  bench) wanted="$demo iperf3:iperf3 wg:wireguard-tools wireguard-go:wireguard-go" ;;
  install) wanted="$demo systemd-nspawn:systemd-container debootstrap:debootstrap lintian:lintian objdump:binutils gpg:gnupg pip3:python3-pip" ;;
  *) die "no such purpose: $purpose (demo, test, bench or install)" ;;
esac

# Debian keeps a PostgreSQL server's programs out of every PATH.
has() {
  command -v "$1" >/dev/null || ls /usr/lib/postgresql/*/bin/"$1" >/dev/null 2>&1
}

missing_packages() {
  for pair in $wanted; do
    has "${pair%%:*}" || printf '%s\n' "${pair#*:}"
  done | sort -u | tr '\n' ' '
}

missing=$(missing_packages)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  say "MISSING, and this machine has no apt to install it: ${missing}(Debian's package names)"
  exit 0
fi
if [ "$(id -u)" = 0 ]; then
  as_root=env
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root='sudo -n'
else
  say "MISSING, and installing needs root: apt install $missing"
  exit 0
fi

say "installing with apt: $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
    -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@" </dev/null >>"$log" 2>&1
}
apt update || true # with a stale list the packages may still be found
# shellcheck disable=SC2086 # a list of words
apt install -y --no-install-recommends $missing || true

missing=$(missing_packages)
if [ -n "$missing" ]; then
  tail -n 2 "$log" >&2
  say "MISSING, apt could not install it (is there a network?): $missing"
fi
exit 0
