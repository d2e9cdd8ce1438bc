/** The implementations that work on this machine, in order. */
export function available<T>(makers: readonly (() => T)[]): T[] {
  return makers.flatMap((make) => {
    try {
      return [make()];
    } catch {
      return [];
    }
  });
}
