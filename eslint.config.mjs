import tseslint from 'typescript-eslint';

/** The arrows of the architecture: agent -> runtime -> kernels and deploy -> runtime -> kernels. */
const arrows = (...folders) => folders.map((folder) => ({
  regex: `(^|/)${folder}`,
  message: 'The dependency arrows point agent -> runtime -> kernels and deploy -> runtime -> kernels (README.md, "Read on").',
}));
const forbid = (...patterns) => ({ 'no-restricted-imports': ['error', { patterns }] });

/**
 * The floors of agent/, lowest first: folders, and the files directly in agent/. Each imports from lower floors only, and those of one floor do not
 * know each other. What several need is a type in `ground`.
 */
const agentFloors = [
  ['contracts', 'errors'],
  ['platform'],
  ['ground'],
  ['config', 'outbox', 'energy', 'recordings', 'thermal'],
  ['adapt', 'api', 'events', 'gallery', 'governor', 'inference', 'mqtt', 'ota', 'telemetry'],
  ['report', 'trust'],
  ['commands'],
  ['foundation'],
  ['pipelines', 'health', 'memory-guard', 'connection'],
  ['agent'],
  ['main', 'doctor', 'calibration'],
];

/** For each member of a floor, the imports that would go up or sideways. */
const floorRules = agentFloors.flatMap((floor, i) => floor.map((member) => {
  const above = agentFloors.slice(i).flat().filter((other) => other !== member);
  const message = `agent/${member} imports from lower floors only; a type that several need belongs in agent/ground (agent/README.md, "Floors").`;
  const refuse = (prefix) => (above.length === 0 ? [] : [{ regex: `^${prefix}(${above.join('|')})[./]`, message }]);
  return [
    { files: [`agent/${member}/**/*.ts`], rules: forbid(...arrows('deploy/'), ...refuse('\\.\\./')) },
    { files: [`agent/${member}.ts`], rules: forbid(...arrows('deploy/'), ...refuse('\\./')) },
  ];
})).flat();

/** Lines without blank ones and comments; positional parameters. A test states many cases in one `describe`, so it may be longer. */
const sizes = ({ file, fn, params }) => ({
  'max-lines': ['error', { max: file, skipBlankLines: true, skipComments: true }],
  'max-lines-per-function': ['error', { max: fn, skipBlankLines: true, skipComments: true }],
  'max-params': ['error', { max: params }],
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
  { files: ['**/*.ts', '**/*.mjs'], rules: sizes({ file: 400, fn: 60, params: 5 }) },
  { files: ['test/**/*.ts'], rules: sizes({ file: 700, fn: 400, params: 8 }) },
  { files: ['vitest.config.ts'], rules: { 'no-restricted-syntax': 'off' } },
  { files: ['kernels/**/*.ts'], rules: forbid(...arrows('runtime/', 'agent/', 'deploy/')) },
  { files: ['runtime/**/*.ts'], rules: forbid(...arrows('agent/', 'deploy/')) },
  { files: ['agent/**/*.ts'], rules: forbid(...arrows('deploy/')) },
  ...floorRules,
  // The bench of the governor runs its pure part against simulated devices.
  { files: ['deploy/**/*.ts'], rules: forbid(...arrows('agent/(?!contracts/|governor/(controller|ladder)\\.|adapt/(adapter|overlay-files)\\.|inference/runtime-port\\.|main\\.|doctor/main\\.|calibration/main\\.)')) },
);
