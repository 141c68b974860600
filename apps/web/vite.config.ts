import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react()],
  resolve: { conditions: ['latent-loom-source', 'module', 'browser', 'development|production'] },
  build: {
    outDir: '../../web-dist',
    emptyOutDir: true,
    // A schema that no page uses does nothing: without this each page would load those of all others.
    rolldownOptions: { treeshake: { moduleSideEffects: (id) => !id.includes('/libs/contracts/') } },
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:3000' } },
});
