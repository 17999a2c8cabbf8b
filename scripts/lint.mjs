// ESLint and the type checker in one process. The rules ask for the types of everything, and checking them again would take a minute more.
import { ESLint } from 'eslint';
import ts from 'typescript';
import { packageRoot as root } from './lib/checkout.mjs';

process.chdir(root);
const files = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' };
const stop = (diagnostic) => { throw new Error(ts.formatDiagnostic(diagnostic, files)); };
const { fileNames, options } = ts.getParsedCommandLineOfConfigFile('tsconfig.test.json', {}, { ...ts.sys, onUnRecoverableConfigFileDiagnostic: stop });
const program = ts.createProgram(fileNames, options);

const eslint = new ESLint({ overrideConfig: [{ files: ['**/*.ts'], languageOptions: { parserOptions: { project: null, programs: [program] } } }] });
const results = await eslint.lintFiles('.');
const complaints = [await (await eslint.loadFormatter()).format(results), ts.formatDiagnostics(ts.getPreEmitDiagnostics(program), files)].filter((text) => text !== '');
process.stdout.write(complaints.join('\n'));
if (complaints.length > 0) process.exitCode = 1;
