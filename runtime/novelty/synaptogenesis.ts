/** Between which shares of the mean efficiency a neuron's score grows from 0 to 1: what its inputs bring, and how often it wins for what they bring. */
const poorInputs = [Math.log(20), Math.log(100)] as const;
const poorOutputs = [Math.log(1.5), Math.log(20)] as const;

const ramp = (value: number, [from, to]: readonly [number, number], power: number): number => Math.min(1, Math.max(0, (value - from) / (to - from))) ** power;

/**
 * How much each neuron needs another synapse, 0..1: high where its field's inputs are hardly ever active, or where they are and it hardly ever wins.
 * @param supply one value a neuron: the sum of its weights times the rates of their inputs, relative to the mean rate
 * @param rates one value a neuron: how often it wins, relative to the mean
 */
export function needs(supply: Float32Array, rates: Float32Array): Float32Array {
  const demand = rates.map((rate, i) => rate / Math.max(supply[i] ?? 0, 1e-12));
  const [meanSupply, meanDemand] = [mean(supply), mean(demand)];
  return supply.map((value, i) => Math.max(
    ramp(-Math.log(Math.max(value / meanSupply, 1e-12)), poorInputs, 2),
    ramp(-Math.log(Math.max((demand[i] ?? 0) / meanDemand, 1e-12)), poorOutputs, 1.5),
  ));
}

function mean(values: Float32Array): number {
  return Math.max(values.reduce((sum, value) => sum + value, 0) / values.length, 1e-12);
}
