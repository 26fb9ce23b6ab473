"""An MCP server: any client of the Model Context Protocol runs, watches, takes and cancels tasks."""
