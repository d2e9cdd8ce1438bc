/** What the driver asks of a process of simulated nodes, one line of JSON each; it answers each with one. */
export type Order =
  /** Makes that many join, and waits until each has the network's map. `atOnce`: how many are on their way at a time. */
  | {
      readonly do: 'join';
      readonly token: string;
      readonly prefix: string;
      readonly count: number;
      readonly atOnce: number;
    }
  /** Forgets when each node learned of what. */
  | { readonly do: 'mark' }
  /** Waits until each node has a map of at least this revision, and says when that was. */
  | { readonly do: 'reached'; readonly revision: number }
  /** The hub is about to die. `forget`: with it each node loses its map, too. */
  | { readonly do: 'brace'; readonly forget: boolean }
  /** Waits until each node is attached again and its map current. */
  | { readonly do: 'back' };

/** Times are those of the machine's monotonic clock, milliseconds, the same in all processes; one for each node. */
export interface Replies {
  readonly join: { readonly revision: number };
  readonly mark: Record<never, never>;
  readonly reached: { readonly at: readonly number[] };
  readonly brace: Record<never, never>;
  readonly back: { readonly attached: readonly number[]; readonly current: readonly number[] };
}

export type Reply = { readonly error: string } | Replies[keyof Replies];

export const monotonic = (): number => Number(process.hrtime.bigint()) / 1e6;
