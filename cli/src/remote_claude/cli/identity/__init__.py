"""Who the CLI is, and where: profiles of servers, their tokens, and how a person signs in."""
