export { Activity } from "./task/Activity";
export { TaskPage } from "./task/Task";
