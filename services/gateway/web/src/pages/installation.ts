export { Installation } from "./installation/Installation";
export { Organisations } from "./installation/Organisations";
export { Overview } from "./installation/Overview";
export { Parked } from "./installation/Parked";
export { Prices } from "./installation/Prices";
