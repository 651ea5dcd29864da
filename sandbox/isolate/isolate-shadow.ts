// Node builtins only.

/**
 * Gives `prototype` every member of `standard` that it lacks, answered by the standard object that `whole` makes of it, and makes its instances
 * pass for instances of the standard class.
 */
export function shadow<Light extends object>(
  prototype: Light,
  standard: object,
  whole: (light: Light) => object,
): void {
  for (const [name, { value, set }] of Object.entries(Object.getOwnPropertyDescriptors(standard))) {
    if (name === 'constructor' || Object.hasOwn(prototype, name)) continue
    Object.defineProperty(prototype, name, {
      configurable: true,
      enumerable: true,
      ...(typeof value === 'function'
        ? {
            value(this: Light, ...args: unknown[]): unknown {
              return Reflect.apply(value, whole(this), args)
            },
          }
        : {
            get(this: Light): unknown {
              return Reflect.get(whole(this), name)
            },
            ...(set && {
              set(this: Light, given: unknown): void {
                Reflect.set(whole(this), name, given)
              },
            }),
          }),
    })
  }
  Object.setPrototypeOf(prototype, standard)
}

/** Makes `instanceof light` say of any value what `instanceof standard` says. A subclass of an app's own is told apart in the ordinary way. */
export function recognise(light: object, standard: abstract new (...given: never[]) => object): void {
  const ordinary = Function.prototype[Symbol.hasInstance]
  Object.defineProperty(light, Symbol.hasInstance, {
    value(this: object, value: unknown): boolean {
      return this === light ? value instanceof standard : ordinary.call(this, value)
    },
  })
}
