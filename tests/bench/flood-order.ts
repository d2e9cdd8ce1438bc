/** What the flooder is told, as JSON. */
export interface FloodOrder {
  readonly kind: FloodKind;
  readonly address: string;
  readonly port: number;
  readonly seconds: number;
  /** Datagrams a second. */
  readonly rate: number;
  /** The victim's public key, base64; strangers may know it. */
  readonly publicKey: string;
  /** A receiver index of the victim's that is in use. */
  readonly index: number;
}

export const FLOOD_KINDS = ['random bytes', 'unknown index', 'bad tag', 'initiations'] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];
