import type { AdminAnswer, AdminRequest, OfferedShare } from '../../protocol/messages.js';
import type { HubAddress } from '../../protocol/token.js';
import type { LeaveAnswer, NodeStatus, PingAnswer, TrustAnswer } from './control.js';

/** Why a node ended. */
export interface NodeEnd {
  readonly reason: 'closed' | 'left' | 'removed' | 'device-gone' | 'failed';
  /** For people. */
  readonly message: string;
}

export interface RunningNode {
  status(): NodeStatus;
  /** @throws LametunError `usage` if there is no such node */
  ping(node: string, sequence?: number): Promise<PingAnswer>;
  /** Replaces the networks that the node shares; without an argument, only returns them. @throws LametunError */
  share(shares?: readonly string[]): Promise<readonly OfferedShare[]>;
  /** Accepts the present key of a node. @throws LametunError `usage` if there is no such node */
  trust(node: string): TrustAnswer;
  /** Ends the membership. @throws LametunError when the hub cannot be told, unless `force`; then nothing was changed */
  leave(force?: boolean): Promise<LeaveAnswer>;
  /** Sets new addresses of the hub. @param hubKey base64 @throws LametunError `usage` if it is another hub's */
  readdress(hubKey: string, addresses: readonly HubAddress[]): void;
  /** @throws LametunError when the hub refuses or is unreachable */
  admin(request: AdminRequest): Promise<AdminAnswer>;
  /** Whether it is stopping; `ended` follows. */
  readonly isEnding: boolean;
  /** Never rejects. */
  readonly ended: Promise<NodeEnd>;
  /** Undoes everything except the membership. */
  close(): Promise<void>;
}
