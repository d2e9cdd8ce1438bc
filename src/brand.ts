declare const brand: unique symbol;

/** A number or text of one kind, which the compiler does not take for another kind. At run time there is no difference. */
export type Brand<T extends number | string, Kind extends string> = T & { readonly [brand]: Kind };
