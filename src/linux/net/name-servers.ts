import { readFileSync } from 'node:fs';
import { type IpAddress, parseAddress } from '../../ip/address.js';

/** The files in which programs and systemd-resolved find the machine's name servers. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** The machine's own name servers, resolv.conf(5). A missing file has none. */
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
