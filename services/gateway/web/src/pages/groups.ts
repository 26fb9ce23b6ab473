export { Batches } from "./groups/Batches";
export { Compare } from "./groups/Compare";
