/**
 * Packages whose index names a thousand modules and more. An app that depends on one has its imports looked at, which takes a start of Node (50 ms); for
 * less than some 500 modules esbuild reads them all in that time (date-fns 50 ms, lodash-es 75 ms).
 */
export const barrelPackages = [
  '@ant-design/icons',
  '@fluentui/react-icons',
  '@heroicons/react',
  '@mui/icons-material',
  '@phosphor-icons/react',
  '@remixicon/react',
  '@tabler/icons-preact',
  '@tabler/icons-react',
  'lucide-preact',
  'lucide-react',
  'lucide-solid',
  'react-bootstrap-icons',
]
