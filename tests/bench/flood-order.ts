/** A request to the flooder, as JSON. */
export interface FloodOrder {
  readonly kind: FloodKind;
  readonly address: string;
  readonly port: number;
  readonly seconds: number;
  /** Datagrams per second. */
  readonly rate: number;
  /** The victim's public key, base64. A stranger may know it. */
  readonly publicKey: string;
  /** A receiver index that the victim uses. */
  readonly index: number;
}

export const FLOOD_KINDS = ['random bytes', 'unknown index', 'bad tag', 'initiations'] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];
