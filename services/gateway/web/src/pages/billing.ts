export { Analytics } from "./billing/Analytics";
export { Billing } from "./billing/Billing";
export { Charts } from "./billing/Charts";
export { InvoicePage } from "./billing/Invoice";
export { Invoices } from "./billing/Invoices";
export { PlanPage } from "./billing/Plan";
export { Usage } from "./billing/Usage";
