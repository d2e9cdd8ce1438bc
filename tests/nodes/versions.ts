/**
 * The versions of Node.js that lametun runs on, the oldest first: the minimum of `engines` in package.json, and the newest of
 * each later line with long-term support. npm has their binaries.
 */
export const NODES: readonly string[] = ['20.19.6', '22.23.5', '24.22.3', '26.12.1'];
