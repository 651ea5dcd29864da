import type { Plugin } from 'esbuild'

/** Of each public name, its value as source text, for `process.env.X` and `import.meta.env.X`. Names that have no value are left alone. */
export function publicDefines(names: string[], env: NodeJS.ProcessEnv): Record<string, string> {
  const values = names.flatMap((name): [string, string][] => {
    const value = env[name]
    return value === undefined ? [] : [[name, JSON.stringify(value)]]
  })
  return Object.fromEntries(
    values.flatMap(([name, text]) => [
      [`process.env.${name}`, text],
      [`import.meta.env.${name}`, text],
    ]),
  )
}

/** Public variables become part of the bundle, as they were when it was built. */
export function envInline(names: string[], env: NodeJS.ProcessEnv): Plugin {
  return {
    name: 'env_inline',
    setup({ initialOptions }) {
      initialOptions.define = { ...publicDefines(names, env), ...initialOptions.define }
    },
  }
}
