/** Those that can be made on this machine, in their order. */
export function workingOnes<T>(makers: readonly (() => T)[]): T[] {
  return makers.flatMap((make) => {
    try {
      return [make()];
    } catch {
      return [];
    }
  });
}
