export { Activity } from "./task/Activity";
export { Changes } from "./task/Changes";
export { TaskCost } from "./task/Cost";
export { TaskPage } from "./task/Task";
export { Timeline } from "./task/Timeline";
