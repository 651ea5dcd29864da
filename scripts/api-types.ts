// Writes cli/api-types.ts, what the `atelier` command knows of the API, from the API's own OpenAPI document. With --check it only says
// whether that file is what the document makes of it, and fails when it is not.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openApiDocument } from '../registry/api/openapi.ts'
import { readConfig } from '../registry/config.ts'
import { printApiTypes } from './schema-types.ts'

const file = join(import.meta.dirname, '../cli/api-types.ts')
const types = printApiTypes(openApiDocument(readConfig({})))

if (!process.argv.includes('--check')) writeFileSync(file, types)
else if (readFileSync(file, 'utf8') !== types) {
  console.error('cli/api-types.ts is not what the API is now; run: npm run api-types')
  process.exit(1)
}
