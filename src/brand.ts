/** Numbers of one kind: the compiler takes no other number for one. At run time there is no `__kind`, and no difference. */
export type Brand<Kind extends string> = number & { readonly __kind: Kind };

/** The same, but plain numbers are taken too: tests and messages write them. */
export type Flavor<Kind extends string> = number & { readonly __kind?: Kind };
