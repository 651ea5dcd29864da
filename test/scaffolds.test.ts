import { testQuickScaffolds } from './support/quick-scaffolds.ts'

testQuickScaffolds()
