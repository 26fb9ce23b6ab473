export { General } from "./settings/General";
export { Keys } from "./settings/Keys";
export { Members } from "./settings/Members";
export { Sessions } from "./settings/Sessions";
export { Settings } from "./settings/Settings";
