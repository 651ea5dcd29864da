import { testFrameworks } from '../support/framework-contract.ts'

testFrameworks({ megabytes: 50 })
