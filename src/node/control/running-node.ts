import type { AdminAnswer, AdminRequest, OfferedShare } from '../../protocol/messages.js';
import type { HubAddress } from '../../protocol/token.js';
import type { LeaveAnswer, NodeStatus, PingAnswer, TrustAnswer } from './control.js';

/** Why a node has ended. */
export interface NodeEnd {
  readonly reason: 'closed' | 'left' | 'removed' | 'device-gone' | 'failed';
  /** For people. */
  readonly message: string;
}

export interface RunningNode {
  status(): NodeStatus;
  /** @throws LametunError `usage` when there is no such node */
  ping(node: string, sequence?: number): Promise<PingAnswer>;
  /** Offers these networks and no others; without an argument, says what is offered. @throws LametunError */
  share(shares?: readonly string[]): Promise<readonly OfferedShare[]>;
  /** Takes the key that a node has now for the right one. @throws LametunError `usage` when there is no such node */
  trust(node: string): TrustAnswer;
  /** Ends it, for good. @throws LametunError when the hub cannot be told, unless `force`; nothing is changed then */
  leave(force?: boolean): Promise<LeaveAnswer>;
  /** Looks for its hub there from now on. @param hubKey base64 @throws LametunError `usage` when it is another hub's */
  readdress(hubKey: string, addresses: readonly HubAddress[]): void;
  /** @throws LametunError when the hub refuses or is away */
  admin(request: AdminRequest): Promise<AdminAnswer>;
  /** Whether it is being undone; `ended` follows. */
  readonly isEnding: boolean;
  /** Never rejects. */
  readonly ended: Promise<NodeEnd>;
  /** Undoes everything; the membership stays. */
  close(): Promise<void>;
}
