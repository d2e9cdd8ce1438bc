/**
 * The lesson as data. A live run and a recording are the same stream of events, and one renderer shows both. So a
 * recording looks like the run that it recorded.
 */
export type LessonEvent =
  /** A scene begins, on a screen of its own. */
  | { readonly kind: 'scene'; readonly id: SceneId; readonly title: string }
  /** A paragraph: wrapped by the renderer; `code` stands between backticks, *emphasis* between asterisks. */
  | { readonly kind: 'text'; readonly text: string }
  /** Lines shown as they are. At most 76 columns. */
  | { readonly kind: 'drawing'; readonly lines: readonly string[] }
  /** A command that is run now, on this host. */
  | { readonly kind: 'command'; readonly host: string; readonly command: string }
  /** What a program printed. */
  | { readonly kind: 'output'; readonly text: string }
  /** A captured packet, to be drawn as nested boxes. */
  | PacketEvent
  /** A captured packet as an observer sees it: bytes, with their letters beside them. */
  | { readonly kind: 'bytes'; readonly caption: string; readonly bytes: string }
  | {
      readonly kind: 'table';
      readonly head: readonly string[];
      readonly rows: readonly (readonly string[])[];
    };

export interface PacketEvent {
  readonly kind: 'packet';
  /** The number of the station on the packet's way, from 1. */
  readonly station?: number;
  /** Where that is: `the internet, after the NAT`. */
  readonly place: string;
  /** The IP packet in hexadecimal, without the Ethernet header. */
  readonly bytes: string;
  /** The same packet as it was at an earlier station: bytes that differ are marked. */
  readonly before?: string;
  /** What to say about the marked bytes. */
  readonly remarks?: readonly string[];
}

/** The scenes in their order. A recording must have the same ones. */
export const SCENES = [
  'networks',
  'before',
  'device',
  'tunnel',
  'after',
  'stations',
  'learning',
  'mtu',
  'udp',
  'observer',
  'wireguard',
  'end',
] as const;
export type SceneId = (typeof SCENES)[number];

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
