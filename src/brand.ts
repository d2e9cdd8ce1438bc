/** Numbers of one kind: the compiler takes no other number for one. At run time there is no `__kind`, and no difference. */
export type Brand<Kind extends string> = number & { readonly __kind: Kind };

/** The same, but a number of no kind will do: for what tests and messages write as plain numbers. */
export type Flavor<Kind extends string> = number & { readonly __kind?: Kind };
