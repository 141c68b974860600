import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/**
 * A library of long integers compiles WebAssembly as soon as it is loaded, which the content security policy reports
 * and forbids; it has a way without.
 */
const withoutWebAssembly = {
  name: 'without-web-assembly',
  transform: (code: string, id: string) =>
    id.includes('/node_modules/long/') ? { code: code.replaceAll('WebAssembly', 'undefined'), map: null } : undefined,
};

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react(), withoutWebAssembly],
  resolve: { conditions: ['latent-loom-source', 'module', 'browser', 'development|production'] },
  build: {
    outDir: '../../web-dist',
    emptyOutDir: true,
    // A schema that no page uses does nothing: without this each page would load those of all others.
    rolldownOptions: { treeshake: { moduleSideEffects: (id) => !id.includes('/libs/contracts/') } },
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:3000' } },
});
