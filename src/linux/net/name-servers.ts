import { readFileSync } from 'node:fs';
import { type IpAddress, parseAddress } from '../../ip/address.js';

/** Where programs and systemd-resolved find the servers of this machine's links. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** The machine's own name servers, resolv.conf(5). Files that do not exist have none. */
export function nameServers(files: readonly string[] = FILES): IpAddress[] {
  return files.flatMap((file) => {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      return [];
    }
    const servers = [...text.matchAll(/^[ \t]*nameserver[ \t]+([^\s#;]+)/gm)];
    return servers.flatMap(([, server]) => parseAddress(server!) ?? []);
  });
}
