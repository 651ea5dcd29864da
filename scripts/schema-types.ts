// JSON Schema as TypeScript, as far as the API's own document uses it; anything else is an error and not a guess.
import type { OpenApiDocument } from '../registry/api/openapi.ts'
import type { Schema } from '../registry/api/schema-text.ts'

type Parameter = { name: string; in: string; required?: boolean; schema: Schema }
type Content = { content?: Record<string, { schema: Schema }> }
type Operation = { parameters?: Parameter[]; requestBody?: Content; responses: Record<string, Content> }

const base = '/api/platform/'

/** The types of every schema by its name, and `Api`: what each route takes and answers, by `METHOD path`. */
export function printApiTypes(document: OpenApiDocument): string {
  const { schemas = {} } = document.components ?? {}
  const named = Object.entries(schemas).map(([name, schema]) => `export type ${name} = ${print(schema as Schema)}\n`)
  const paths = Object.entries(document.paths ?? {}).filter(([path]) => path.startsWith(base))
  const routes = paths.flatMap(([path, item]) =>
    Object.entries(item as Record<string, Operation>).map(
      ([method, operation]) => `  '${method.toUpperCase()} ${path.slice(base.length)}': ${printRoute(operation)}`,
    ),
  )
  const head = '// Made from the OpenAPI document by `npm run api-types`; not to be changed by hand.\n'
  return [head, ...named, `export type Api = {\n${routes.join('\n')}\n}\n`].join('\n')
}

function printRoute({ parameters = [], requestBody, responses }: Operation): string {
  const parts = [
    printParameters('params', parameters, 'path'),
    printParameters('query', parameters, 'query'),
    printBody(requestBody?.content ?? {}),
    printAnswer(responses),
  ]
  return `{\n${parts.flat().join('')}  }`
}

function printParameters(name: string, all: Parameter[], where: string): string[] {
  const own = all.filter((one) => one.in === where)
  if (own.length === 0) return []
  const fields = own.map(
    (one) =>
      `      ${one.name}${one.required ? '' : '?'}: ${inQuery(one.schema)}${one.required ? '' : ' | undefined'}\n`,
  )
  return [`    ${name}${own.some(({ required }) => required) ? '' : '?'}: {\n${fields.join('')}    }\n`]
}

// What is written as text there: whoever asks may hold it as what it says.
function inQuery(schema: Schema): string {
  return schema.enum?.join() === 'true,false' ? 'boolean' : print(schema, '      ')
}

function printBody(content: Record<string, { schema: Schema }>): string[] {
  const mark = Object.keys(content).length > 1 ? '?' : ''
  return Object.entries(content).map(([type, { schema }]) =>
    type === 'application/json'
      ? `    json${mark}: ${print(schema, '    ', 'asked')}\n`
      : `    upload${mark}: '${type}'\n`,
  )
}

function printAnswer(responses: Record<string, Content>): string[] {
  const good = Object.entries(responses).filter(([status]) => status.startsWith('2'))
  const of = (type: string) => good.flatMap(([, { content }]) => content?.[type]?.schema ?? [])
  const answers = [
    ...of('application/json').map((schema) => print(schema, '    ')),
    ...good.filter(([, { content }]) => !content).map(() => 'null'),
  ]
  const events = of('application/x-ndjson').map((schema) => print(schema, '    '))
  return [
    ...(answers.length > 0 ? [`    answer: ${answers.join(' | ')}\n`] : []),
    ...(events.length > 0 ? [`    events: ${events.join(' | ')}\n`] : []),
  ]
}

// `asked`: a field with a default may be left out by whoever sends it, and is always there in an answer.
function print(schema: Schema, indent = '', side: 'asked' | 'answered' = 'answered'): string {
  const go = (one: Schema) => print(one, indent, side)
  if (schema.$ref) return schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)
  if (schema.enum) return schema.enum.map(literal).join(' | ')
  if ('const' in schema) return literal(schema.const)
  if (schema.allOf) return schema.allOf.map(go).join(' & ')
  const either = schema.anyOf ?? schema.oneOf
  if (either) return [...new Set(either.map(go))].join(' | ')
  const types = [schema.type ?? 'object'].flat()
  return types.map((type) => printType(type, schema, indent, side)).join(' | ')
}

function printType(type: string, schema: Schema, indent: string, side: 'asked' | 'answered'): string {
  if (type === 'string' || type === 'boolean' || type === 'null') return type
  if (type === 'number' || type === 'integer') return 'number'
  if (type === 'array') return `(${schema.items ? print(schema.items, indent, side) : 'unknown'})[]`
  if (type === 'object') return printObject(schema, indent, side)
  throw new Error(`the document holds a schema of the type ${type}`)
}

function printObject(schema: Schema, indent: string, side: 'asked' | 'answered'): string {
  const { properties, required = [], additionalProperties } = schema
  if (!properties) {
    const of = typeof additionalProperties === 'object' ? print(additionalProperties, indent, side) : 'unknown'
    return `Record<string, ${of}>`
  }
  const fields = Object.entries(properties).map(([name, property]) => {
    const isOptional = !required.includes(name) || (side === 'asked' && 'default' in property)
    const value = print(property, `${indent}  `, side)
    return `${indent}  ${name}${isOptional ? '?' : ''}: ${value}${isOptional ? ' | undefined' : ''}\n`
  })
  return `{\n${fields.join('')}${indent}}`
}

function literal(value: unknown): string {
  return typeof value === 'string' ? `'${value.replaceAll("'", "\\'")}'` : JSON.stringify(value)
}
