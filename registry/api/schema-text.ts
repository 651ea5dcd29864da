/** JSON Schema, as far as the API's own document uses it. */
export type Schema = {
  $ref?: string
  type?: string | string[]
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  oneOf?: Schema[]
  allOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
  default?: unknown
  description?: string
  minimum?: number
  maximum?: number
  maxLength?: number
  maxItems?: number
}

/** The type in a few words; `[[Name]]` for a schema with a name of its own. */
export function typeText(schema: Schema): string {
  if (schema.$ref) return `[[${schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)}]]`
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(' | ')
  if ('const' in schema) return JSON.stringify(schema.const)
  if (schema.allOf) return schema.allOf.map(typeText).join(' & ')
  const either = schema.anyOf ?? schema.oneOf
  if (either) return [...new Set(either.map(typeText))].join(' | ')
  return [schema.type ?? 'object']
    .flat()
    .map((type) => plainText(type, schema))
    .join(' | ')
}

/** The fields of an object, and those of one that is made of others. */
export function fieldsOf(schema: Schema): { name: string; isRequired: boolean; schema: Schema }[] {
  const parts = schema.allOf ?? []
  const own = Object.entries(schema.properties ?? {}).map(([name, one]) => ({
    name,
    isRequired: schema.required?.includes(name) ?? false,
    schema: one,
  }))
  const inherited = parts.filter((part) => part.$ref).map((part) => ({ name: '…', isRequired: true, schema: part }))
  return [...inherited, ...parts.filter((part) => !part.$ref).flatMap(fieldsOf), ...own]
}

function plainText(
  type: string,
  { items, properties, additionalProperties, minimum, maximum, maxLength }: Schema,
): string {
  if (type === 'array') return `${items ? typeText(items) : 'anything'}[]`
  if (type === 'object' && properties)
    return `{ ${Object.entries(properties)
      .map(([name, one]) => `${name}: ${typeText(one)}`)
      .join(', ')} }`
  if (type === 'object' && typeof additionalProperties === 'object')
    return `{ [name]: ${typeText(additionalProperties)} }`
  if (minimum !== undefined && maximum !== undefined && maximum < 1e9) return `${type} ${minimum}–${maximum}`
  return maxLength === undefined ? type : `${type} ≤ ${maxLength}`
}
