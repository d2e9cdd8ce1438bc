import type { Architecture } from '../single-file/node.js';
import { debianVersion, type Release } from './changelog.js';

/** Debian's names of processors, `dpkg-architecture -L`. */
export const DEBIAN_ARCHITECTURE: Readonly<Record<Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * What the executable and koffi.node are linked to. The versions are the lowest that have the symbols that they use:
 * GLIBC_2.28, CXXABI_1.3.11 (GCC 7) and GCC_3.4. debconf asks the question of a purge.
 */
const DEPENDS = 'libc6 (>= 2.28), libstdc++6 (>= 7), libgcc-s1 (>= 3.4), debconf (>= 0.5) | debconf-2.0';

/**
 * The file `control`, deb-control(5).
 *
 * lametun runs `nft` for shared networks, and systemd's `resolvectl` where systemd-resolved runs. `ip` is for the lesson,
 * `wg` for lametund.
 *
 * @param installedSize KiB
 */
export const controlFile = (release: Release, architecture: Architecture, installedSize: number): string =>
  `Package: lametun
Version: ${debianVersion(release.version)}
Architecture: ${DEBIAN_ARCHITECTURE[architecture]}
Maintainer: ${release.maintainer}
Installed-Size: ${installedSize}
Depends: ${DEPENDS}
Recommends: nftables
Suggests: iproute2, wireguard-tools
Section: net
Priority: optional
Description: private network that connects machines by name
 One command on each machine, and the machines reach each other by name,
 encrypted end to end, even behind NATs. There is no account and no service in
 the middle that can read the data. Whole networks can join, such as home and
 office.
 .
 The package also has lametund, a complete WireGuard in user space for wg and
 wg-quick, and a lesson that shows how a VPN works.
`;
