import * as v from 'valibot';
import { hubAddresses } from '../../protocol/fields.js';
import {
  type AdminAnswer,
  adminRequest,
  type Checked,
  type NetworkInfo,
  type OfferedShare,
} from '../../protocol/messages.js';

/*
 * Requests to the process that runs on a state directory, and its answers: JSON lines on the Unix socket `control.sock`
 * there, which only root may open. A connection carries one request and any number of answers, then `{"done":true}` or
 * `{"error":{"code","message"}}`. A request, and the first line of its answers, also name the program:
 * `control-version.ts`.
 */

const text = v.string('must be text');
/** A node by name, id, or member address. */
const node = text;
/** Milliseconds between two answers; 1000 if not given. */
const interval = v.optional(v.number('must be a number'));
const flag = v.optional(v.boolean('must be true or false'));

export const controlRequest = v.variant('command', [
  v.object({ command: v.literal('status') }),
  /** Answers with a status now and after every interval. */
  v.object({ command: v.literal('watch'), interval }),
  /** Answers each ping; without `count`, pings until the connection is closed. */
  v.object({ command: v.literal('ping'), node, count: v.optional(v.number('must be a number')), interval }),
  /** Tells the hub, and forgets the network. With `force`, forgets it even if the hub cannot be told. */
  v.object({ command: v.literal('leave'), force: flag }),
  /** Replaces the networks that this node shares. Without `shares`, changes nothing. */
  v.object({ command: v.literal('share'), shares: v.optional(v.array(text, 'must be a list')) }),
  /** Accepts the present key of a node, and ends the warning about it. */
  v.object({ command: v.literal('trust'), node }),
  /** Gives the node new addresses of its hub. */
  v.object({
    command: v.literal('readdress'),
    hubKey: text,
    addresses: v.pipe(hubAddresses, v.minLength(1, 'must not be empty')),
  }),
  v.object({ command: v.literal('admin'), request: adminRequest }),
  /** Writes a backup of the hub to a file: an absolute path. */
  v.object({ command: v.literal('backup'), file: text }),
]);
export type ControlRequest = Checked<typeof controlRequest>;

/** Answers by command. */
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

/** The last line of an answer that fails. */
export interface ControlError {
  /** An `ErrorCode`; another version may send others. */
  readonly code: string;
  readonly message: string;
}

/** The state of a node. Times are milliseconds since 1970. */
export interface NodeStatus {
  readonly network: NetworkInfo;
  readonly self: {
    readonly id: number;
    readonly name: string;
    /** The name that this node asked for when it joined just now, if it was taken. */
    readonly wished?: string | undefined;
    /** `NODE.NETWORK.lametun`. */
    readonly fullName: string;
    /** Undefined, like `ipv6`, while the node is pending. */
    readonly ipv4?: string | undefined;
    readonly ipv6?: string | undefined;
    /** Base64. */
    readonly key: string;
    readonly admin: boolean;
    /** Waits for the approval of an administrator. */
    readonly pending: boolean;
    /** The network interface. */
    readonly interface: string;
    /** The UDP port. */
    readonly port: number;
  };
  readonly hub: HubStatus;
  readonly relay: RelayStatus;
  /** By name. */
  readonly peers: readonly PeerStatus[];
  /** The networks that this node shares. */
  readonly shares: readonly OfferedShare[];
  readonly names: {
    readonly how: 'systemd-resolved' | 'resolv.conf' | 'none';
    /** Why there are no names. */
    readonly why?: string | undefined;
    /** The interface of another network whose node has resolv.conf and answers for this one. */
    readonly through?: string | undefined;
  };
  /** Problems to look at, in whole sentences. */
  readonly warnings: readonly string[];
}

export interface HubStatus {
  readonly state: 'connected' | 'connecting' | 'away' | 'refused';
  /** `203.0.113.5:443`: where it was last reached, or is tried now. */
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
  /** `offline`: the hub says so, and there is no direct path. */
  readonly kind: 'direct' | 'relayed' | 'none' | 'offline';
  /** Of a direct path: `192.168.1.7:41641`. */
  readonly endpoint?: string | undefined;
  /** In words: `no answer yet from 192.168.1.7:41641`. */
  readonly why: string;
  /** When an offline peer was last connected to the hub, if it was since the hub started. */
  readonly lastSeen?: number | undefined;
  /** The latest measurement on this path. */
  readonly rttMs?: number | undefined;
  readonly since: number;
}

export interface PeerStatus {
  readonly id: number;
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly key: string;
  /** When this node first saw the key under this name, if it knew another key before. */
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
  /** Whether the hub was told. */
  readonly told: boolean;
  /** The directory where the key is kept, if the hub was not told. */
  readonly kept?: string | undefined;
}

/** The node whose present key is accepted. */
export interface TrustAnswer {
  readonly node: string;
  /** Base64. */
  readonly key: string;
  /** Whether the key had changed, even if the warning has ended. */
  readonly changed: boolean;
}

/** The result of one ping. */
export interface PingAnswer {
  readonly node: string;
  readonly address: string;
  /** From 1. */
  readonly sequence: number;
  /** Undefined if there was no answer within about a second. */
  readonly rttMs?: number | undefined;
  readonly path: PathStatus;
}
