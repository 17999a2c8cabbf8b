/**
 * The gates of the demonstration's camera, as `sterna gate calibrate` chooses them for the replayed door: the layer after which the detector stops, and
 * a threshold below the largest one that misses nothing there (0.5). What goes on behind the gates computes the part of the picture that has changed.
 */
export const demoGates = {
  features: { enabled: true, split: 'Relu_11', threshold: 0.3 },
  incremental: { enabled: true },
} as const;
