export default {
  build: {
    script: 'scripts/build.sh',
    output: 'dist',
  },
}
