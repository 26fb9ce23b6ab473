export { AnyTicketPage, EveryTicket } from "./support/Operator";
export { TicketPage, Tickets } from "./support/Tickets";
