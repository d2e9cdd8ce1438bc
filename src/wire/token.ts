/** Where a hub can be reached. */
export interface HubAddress {
  /** An IPv4 or IPv6 address, or a name. */
  readonly host: string;
  readonly port: number;
  /** Behind a reverse proxy that speaks TLS. What authenticates the hub is its key, here as there. */
  readonly tls: boolean;
}

/** What `lametun join TOKEN` needs to know. */
export interface Token {
  /** The hub's public key, 32 bytes. */
  readonly hub: Uint8Array;
  /** 16 bytes. Not to be logged. */
  readonly secret: Uint8Array;
  /** At least one, at most eight. */
  readonly addresses: readonly HubAddress[];
}
