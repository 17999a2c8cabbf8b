/** Maps the model's input back to the frame: `frame = (input - offset) * scale`, in pixels. */
export interface FitTransform {
  scaleX: number;
  scaleY: number;
  offsetX: number;
  offsetY: number;
}

/** Candidate boxes before suppression, in pixels of the frame, in structure-of-arrays form. */
export interface Candidates {
  count: number;
  /** x1, y1, x2, y2 a candidate. */
  boxes: Float32Array;
  /** 0..1 */
  scores: Float32Array;
  /** Position of the class among the labels. */
  classes: Int32Array;
  /** Keypoints x, y a candidate, when the head has them: `points.length / count / 2` each. */
  points?: Float32Array;
}

/** No picture is larger; beyond it, crops would lose their meaning (and float32 its pixels). */
const maxCoordinate = 1e5;

/** Collects candidates, in pixels of the model's input, as pixels of the frame. */
export class CandidateList {
  readonly #fit: FitTransform;
  readonly #hasPoints: boolean;
  readonly #boxes: number[] = [];
  readonly #scores: number[] = [];
  readonly #classes: number[] = [];
  readonly #points: number[] = [];

  constructor(fit: FitTransform, hasPoints = false) {
    this.#fit = fit;
    this.#hasPoints = hasPoints;
  }

  /**
   * False for a box without area, with NaN, or far outside any picture: later stages crop boxes, so it is dropped, and gets no points.
   * @param box x1, y1, x2, y2 in pixels of the model's input
   */
  add(score: number, label: number, [x1, y1, x2, y2]: readonly [number, number, number, number]): boolean {
    const left = this.#x(x1), top = this.#y(y1), right = this.#x(x2), bottom = this.#y(y2);
    if (!(right > left && bottom > top && Math.max(-left, -top, right, bottom) <= maxCoordinate)) return false;
    this.#boxes.push(left, top, right, bottom);
    this.#scores.push(score);
    this.#classes.push(label);
    return true;
  }

  /** A point of the box that was added last. */
  addPoint(x: number, y: number): void {
    this.#points.push(this.#x(x), this.#y(y));
  }

  finish(): Candidates {
    return {
      count: this.#scores.length,
      boxes: Float32Array.from(this.#boxes), scores: Float32Array.from(this.#scores), classes: Int32Array.from(this.#classes),
      ...(this.#hasPoints ? { points: Float32Array.from(this.#points) } : {}),
    };
  }

  #x(value: number): number {
    return Math.fround((value - this.#fit.offsetX) * this.#fit.scaleX);
  }

  #y(value: number): number {
    return Math.fround((value - this.#fit.offsetY) * this.#fit.scaleY);
  }
}
