import type { AdminAnswer, AdminRequest, NetworkInfo, OfferedShare } from '../../protocol/messages.js';
import type { HubAddress } from '../../protocol/token.js';

/*
 * What `lametun status` and its like ask the process that runs on a state directory, and what it answers: JSON lines on
 * the unix socket `control.sock` there, which only root may open. One request a connection; any number of answers,
 * then `{"done":true}` or `{"error":{"code","message"}}`. `control-socket.ts` carries them. A request, and the first line of
 * its answers, also say who speaks: `control-version.ts`.
 */

export type ControlRequest =
  | { readonly command: 'status' }
  /** A status now and after every change, at most one in `interval` milliseconds (1000 if not given). */
  | { readonly command: 'watch'; readonly interval?: number | undefined }
  /** By name, id, or inner address. An answer for every ping; for ever without `count`. */
  | {
      readonly command: 'ping';
      readonly node: string;
      readonly count?: number | undefined;
      /** Milliseconds from one to the next; 1000 if not given. */
      readonly interval?: number | undefined;
    }
  /**
   * Tells the hub, and forgets the network. Where the hub is away it is refused, unless `force`: then only this
   * machine forgets.
   */
  | { readonly command: 'leave'; readonly force?: boolean | undefined }
  /** What this node offers from now on, instead of what it offered before. Without `shares` nothing changes. */
  | { readonly command: 'share'; readonly shares?: readonly string[] | undefined }
  /** The key that a node has now is the right one: no warning of it any more. */
  | { readonly command: 'trust'; readonly node: string }
  /** A token was given to `join` here: the hub is to be looked for at its addresses. */
  | { readonly command: 'readdress'; readonly hubKey: string; readonly addresses: readonly HubAddress[] }
  | { readonly command: 'admin'; readonly request: AdminRequest }
  /** A hub writes what it knows to a file: an absolute path. */
  | { readonly command: 'backup'; readonly file: string };

/** By command. */
export interface ControlAnswers {
  readonly status: NodeStatus;
  readonly watch: NodeStatus;
  readonly ping: PingAnswer;
  readonly leave: LeaveAnswer;
  readonly share: { readonly shares: readonly OfferedShare[] };
  readonly trust: TrustAnswer;
  readonly readdress: { readonly network: string; readonly name: string };
  readonly admin: AdminAnswer;
  readonly backup: Record<string, never>;
}
export type ControlCommand = ControlRequest['command'];

/** The last line of an answer that ends badly. */
export interface ControlError {
  /** An `ErrorCode`, or whatever the process said. */
  readonly code: string;
  readonly message: string;
}

/** How a node is. Times are milliseconds since 1970. */
export interface NodeStatus {
  readonly network: NetworkInfo;
  readonly self: {
    readonly id: number;
    readonly name: string;
    /** What this node asked to be called when it joined just now, where that was taken. */
    readonly wished?: string | undefined;
    /** `NODE.NETWORK.lametun`. */
    readonly fullName: string;
    /** None, as no `ipv6`, until an administrator has let it in. */
    readonly ipv4?: string | undefined;
    readonly ipv6?: string | undefined;
    /** Base64. */
    readonly key: string;
    readonly admin: boolean;
    /** Waits for an administrator. */
    readonly pending: boolean;
    /** The network interface. */
    readonly device: string;
    /** The UDP port. */
    readonly port: number;
  };
  readonly hub: HubStatus;
  readonly relay: RelayStatus;
  /** By name. */
  readonly peers: readonly PeerStatus[];
  /** What this node offers. */
  readonly shares: readonly OfferedShare[];
  readonly names: {
    readonly how: 'systemd-resolved' | 'resolv.conf' | 'none';
    /** What to know of it: why there are none. */
    readonly why?: string | undefined;
    /** The device of this machine's other network whose node has resolv.conf, and answers for this one. */
    readonly through?: string | undefined;
  };
  /** What somebody should look at, in whole sentences. */
  readonly warnings: readonly string[];
}

export interface HubStatus {
  readonly state: 'connected' | 'connecting' | 'away' | 'refused';
  /** `203.0.113.5:443`: where it was last reached, or is being tried. */
  readonly address?: string | undefined;
  /** Why it is not connected. */
  readonly why?: string | undefined;
  readonly since: number;
}

export interface RelayStatus {
  readonly via: 'udp' | 'websocket' | 'none';
  readonly why: string;
  readonly since: number;
}

export interface PathStatus {
  /** `offline`: by the hub's word, and nothing reaches it directly. */
  readonly kind: 'direct' | 'relayed' | 'none' | 'offline';
  /** Of a direct path: `192.168.1.7:41641`. */
  readonly endpoint?: string | undefined;
  /** In words: `no answer yet from 192.168.1.7:41641`. */
  readonly why: string;
  /** Of one that is offline: when it was connected to the hub last, if it was since the hub was started. */
  readonly lastSeen?: number | undefined;
  /** The last that was measured on this path. */
  readonly rttMs?: number | undefined;
  readonly since: number;
}

export interface PeerStatus {
  readonly id: number;
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly key: string;
  /** When this node first saw that key by this name, if it had known another one by it. */
  readonly keyChangedAt?: number;
  readonly shares: readonly string[];
  readonly path: PathStatus;
  /** 0 for never. */
  readonly lastHandshake: number;
  /** Bytes on the wire. */
  readonly received: number;
  readonly sent: number;
}

export interface LeaveAnswer {
  /** Whether the hub knows. */
  readonly told: boolean;
  /** The directory where the key is kept, since it does not. */
  readonly kept?: string | undefined;
}

/** Whose key is taken for the right one. */
export interface TrustAnswer {
  readonly node: string;
  /** Base64. */
  readonly key: string;
  /** Whether there was a warning, or would be if that had not ended. */
  readonly changed: boolean;
}

/** What became of one ping. */
export interface PingAnswer {
  readonly node: string;
  readonly address: string;
  /** From 1. */
  readonly sequence: number;
  /** Undefined: no answer within a second or so. */
  readonly rttMs?: number | undefined;
  readonly path: PathStatus;
}
