import tseslint from 'typescript-eslint';

/** The arrows of the architecture: agent -> runtime -> kernels and deploy -> runtime -> kernels. */
const forbid = (...folders) => ({
  'no-restricted-imports': ['error', {
    patterns: folders.map((folder) => ({
      regex: `(^|/)${folder}/`,
      message: `The dependency arrows point agent -> runtime -> kernels and deploy -> runtime -> kernels (README, "Layout").`,
    })),
  }],
});

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'node_modules/', '.cache/', 'deploy/dashboard/public/'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { project: './tsconfig.test.json' } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'Use a union of literals.' },
        { selector: 'ExportDefaultDeclaration', message: 'Use named exports.' },
      ],
    },
  },
  { files: ['vitest.config.ts'], rules: { 'no-restricted-syntax': 'off' } },
  { files: ['kernels/**/*.ts'], rules: forbid('runtime', 'agent', 'deploy') },
  { files: ['runtime/**/*.ts'], rules: forbid('agent', 'deploy') },
  { files: ['agent/**/*.ts'], rules: forbid('deploy') },
  { files: ['deploy/**/*.ts'], rules: forbid('agent/(?!contracts/|main\\.)') },
);
