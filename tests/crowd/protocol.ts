/** A request to a process of simulated nodes, a line of JSON. Each is answered with one line. */
export type Order =
  /** Makes nodes join, and waits until each has the network map. `atOnce`: how many join at the same time. */
  | {
      readonly do: 'join';
      readonly token: string;
      readonly prefix: string;
      readonly count: number;
      readonly atOnce: number;
    }
  /** Forgets when revisions reached the nodes. */
  | { readonly do: 'mark' }
  /** Waits until each node has at least this revision. Answers when it received it. */
  | { readonly do: 'reached'; readonly revision: number }
  /** Prepares for the hub's death. `forget`: each node then loses its map. */
  | { readonly do: 'brace'; readonly forget: boolean }
  /** Waits until each node is attached again and has the current map. */
  | { readonly do: 'back' };

/** The answers. Times are of the machine's monotonic clock, milliseconds, which all processes share; one for each node. */
export interface Replies {
  readonly join: { readonly revision: number };
  readonly mark: Record<never, never>;
  readonly reached: { readonly at: readonly number[] };
  readonly brace: Record<never, never>;
  readonly back: { readonly attached: readonly number[]; readonly current: readonly number[] };
}

export type Reply = { readonly error: string } | Replies[keyof Replies];

export const monotonic = (): number => Number(process.hrtime.bigint()) / 1e6;
