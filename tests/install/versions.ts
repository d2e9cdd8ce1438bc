/** Two versions of the package with the same programs, for upgrades. */
export const OLDER = '0.0.1';
export const NEWER = '0.0.2';
