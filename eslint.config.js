import js from '@eslint/js';
import reactHooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['**/dist/**', 'web-dist/**', 'node_modules/**', 'libs/platform/src/generated/**', '.loom/**'] },
  // Programs on code that is generated when they run; `npm run clients` checks their types.
  { ignores: ['tests/clients/programs/**'] },
  js.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      'no-nested-ternary': 'error',
      complexity: ['error', 16],
      'max-lines': ['error', 400],
      'max-lines-per-function': ['error', { max: 80, skipBlankLines: true, skipComments: true }],
      'max-len': [
        'error',
        { code: 120, ignoreRegExpLiterals: true, ignorePattern: "^(import|export) |^\\s*'[A-Za-z0-9+/=]{100,}'" },
      ],
      'no-console': 'error',
      'no-restricted-properties': [
        'error',
        { object: 'tf', property: 'addN', message: 'Its order depends on other threads: sumOf of #libs/tensorflow.' },
        { object: 'tf', property: 'eye', message: 'A large constant of a graph: identity of #libs/tensorflow.' },
      ],
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      // Indexed access is checked by the compiler (noUncheckedIndexedAccess); where a place is known to exist, `!` says
      // so.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern: '^_', argsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowNullish: true },
      ],
      // Contexts and commands are plain objects of functions that use no `this`.
      '@typescript-eslint/unbound-method': 'off',
      // The new error says what the caught one means; where its text helps, it is in there.
      'preserve-caught-error': 'off',
      // Hooks of Fastify are async by their type.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/only-throw-error': 'off',
    },
  },
  { files: ['apps/web/**/*.{ts,tsx}'], ...reactHooks.configs.flat['recommended-latest'] },
  // A describe's callback holds all of its tests.
  {
    files: ['**/*.spec.{ts,tsx}', 'tests/**/*.{ts,tsx}'],
    rules: { 'max-lines-per-function': 'off' },
  },
  // Nest reads parameter types at run time: they have to be imported as values.
  {
    files: ['apps/api/**/*.ts', 'apps/worker/**/*.ts'],
    rules: { '@typescript-eslint/consistent-type-imports': 'off' },
  },
  {
    files: ['apps/cli/**/*.ts', 'bench/**/*.ts', 'tests/learning/**/*.ts', 'tests/support/**/*.ts'],
    rules: { 'no-console': 'off' },
  },
  {
    files: ['**/*.mjs', '**/*.cjs', 'eslint.config.js'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        fetch: 'readonly',
        performance: 'readonly',
        Buffer: 'readonly',
        URL: 'readonly',
        WebAssembly: 'readonly',
        setInterval: 'readonly',
        clearInterval: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        module: 'writable',
      },
    },
  },
);
