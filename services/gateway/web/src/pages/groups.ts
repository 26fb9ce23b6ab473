export { Batches } from "./groups/Batches";
export { BatchPage } from "./groups/Batch";
export { Compare } from "./groups/Compare";
