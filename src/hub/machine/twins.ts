import type { Incarnation } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';

/** So many returns within this time, milliseconds, mean two machines. */
const RETURNS = 2;
const WINDOW = 60_000;
/**
 * How long a contest is remembered after its last sign, milliseconds: the refused machine tries again every five
 * minutes.
 */
const MEMORY = 15 * 60_000;
/** How many processes of a node are remembered. */
const REMEMBERED = 4;

interface Process extends Incarnation {
  readonly address: string;
}

interface Arrivals {
  /** The latest last: it holds the node's place. */
  readonly processes: Process[];
  /** When a process came back although another one had come since. */
  returns: number[];
  contest: { readonly at: number; readonly other: string } | undefined;
}

/**
 * Distinguishes machines with copies of one state directory from one machine that moves or restarts. A process that
 * starts takes its predecessor's place, and the predecessor is never heard of again. Two machines keep returning, each
 * after the other. Two copies of one running process (a cloned virtual machine) are recognised by their turns, which do
 * not grow.
 *
 * No I/O. Times are milliseconds of any clock.
 */
export class Twins {
  readonly #nodes = new Map<NodeId, Arrivals>();

  /**
   * A process connects for a node.
   *
   * @param holder whether the node has another connection now
   * @returns the address of the machine that keeps the node's place; undefined if this process gets it
   */
  arrive(node: NodeId, as: Process, holder: boolean, now: number): string | undefined {
    const arrivals = this.#nodes.get(node) ?? { processes: [], returns: [], contest: undefined };
    this.#nodes.set(node, arrivals);
    const { processes } = arrivals;
    const latest = processes.at(-1);
    const known = processes.findIndex(({ run }) => run === as.run);
    const isLatest = known >= 0 && known === processes.length - 1 && as.turn > latest!.turn;
    if (known >= 0 && !isLatest) arrivals.returns.push(now);
    arrivals.returns = arrivals.returns.filter((at) => at > now - WINDOW);
    const isContested = arrivals.returns.length >= RETURNS || this.#contest(arrivals, now) !== undefined;
    if (latest !== undefined && isContested && !isLatest) {
      arrivals.contest = { at: now, other: holder ? as.address : latest.address };
      if (holder) return latest.address;
    }
    if (known >= 0) processes.splice(known, 1);
    processes.push({ run: as.run, turn: as.turn, address: as.address });
    if (processes.length > REMEMBERED) processes.shift();
    return undefined;
  }

  /** The addresses of the two machines, the connected one's first; undefined if there is only one. */
  of(node: NodeId, now: number): readonly [string, string] | undefined {
    const arrivals = this.#nodes.get(node);
    const contest = arrivals && this.#contest(arrivals, now);
    return contest && [arrivals.processes.at(-1)!.address, contest.other];
  }

  delete(node: NodeId): void {
    this.#nodes.delete(node);
  }

  #contest({ contest }: Arrivals, now: number): Arrivals['contest'] {
    return contest !== undefined && now - contest.at < MEMORY ? contest : undefined;
  }
}
